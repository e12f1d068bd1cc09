"""Success filter: exact names, what was there before does not count, and stretches hold what they are kept for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.data.filter_dataset import Args, main
from steve1.core.errors import UserError
from steve1.data.episodes.cut import cut_episode
from steve1.data.episodes.episode import Episode, write_goals
from steve1.data.quality.history import History, read_history
from steve1.data.quality.success import Condition, find_stretches, parse_conditions, reached
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.makers import embeds, make_episode, make_recording, null_tick, tick


def row(number: int, dirt: int = 64, x: float = 0.0, *, null: bool = False, **more: Any) -> dict[str, Any]:
    inventory = [{"type": "dirt", "quantity": min(dirt, 64)}]
    inventory += [{"type": "dirt", "quantity": dirt - 64}] if dirt > 64 else []
    stats = {"minecraft.mine_block:minecraft.dirt": 10 + number // 50}
    return (null_tick if null else tick)(number, **{"inventory": inventory, "xpos": x, "stats": stats, **more})


def dataset(tmp_path: Path, recordings: dict[str, list[dict[str, Any]]], **settings: Any) -> Path:
    for name, rows in recordings.items():
        make_recording(tmp_path / "in", name, rows, width=64, height=36)
    convert_folder(tmp_path / "in", tmp_path / "ds", ConvertSettings(**settings))
    return tmp_path / "ds"


def flat(count: int, **items: list[int]) -> History:
    return History({name: np.array(values) for name, values in items.items()}, {}, np.zeros((count, 3)), True)


@pytest.mark.e2e
def test_only_what_is_gained_counts_and_only_by_its_exact_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset(
        tmp_path,
        {
            "digger": [row(n, 64 + n // 30) for n in range(100)],
            "owner": [row(n, 64) for n in range(100)],
            "placer": [row(n, 64 - 4 * (20 < n < 60)) for n in range(100)],
            "other": [row(n, inventory=[{"type": "coarse_dirt", "quantity": n}]) for n in range(100)],
        },
    )
    assert main(Args((str(folder),), gained=("dirt=3",), output_dir=str(tmp_path / "kept"))) == 0
    assert [p.name for p in sorted((tmp_path / "kept").iterdir()) if p.is_dir()] == ["digger"]
    assert "1 of 4 episodes kept" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "kept" / "filter_report.jsonl").read_text().splitlines()]
    assert [r["reached"]["3 dirt gained"] for r in rows] == [3, 0, 0, 0]
    assert Episode(tmp_path / "kept" / "digger").metadata["filtered"]["reached"] == {"3 dirt gained": 3.0}
    assert main(Args((str(folder),), gained=("dirt=4",), output_dir=str(tmp_path / "none"))) == 0
    with pytest.raises(UserError, match="'dirty'") as caught:
        main(Args((str(folder),), gained=("dirty",)))
    assert "dirt" in caught.value.expected


def test_frames_that_conversion_dropped_are_dropped_here_too(tmp_path: Path) -> None:
    rows = [row(n, 64 + n, float(n), null=n % 3 == 0) for n in range(90)]
    folder = dataset(tmp_path, {"rec": rows})
    history = read_history(folder / "rec")
    wanted = np.array([n for n in range(90) if n % 3])
    assert (history.items["dirt"] == 64 + wanted).all()
    assert (history.position[:, 0] == wanted).all()
    assert (history.mined["dirt"] == 10 + wanted // 50).all()
    cut_episode(folder / "rec", tmp_path / "cut", 10, 45)
    cut_episode(tmp_path / "cut", tmp_path / "again", 5, 30)
    assert (read_history(tmp_path / "again").items["dirt"] == 64 + wanted[15:40]).all()


@pytest.mark.e2e
def test_segments_hold_the_gain_and_their_goals_stay_true(tmp_path: Path) -> None:
    gains = [200, 230, 420]
    rows = [row(n, 64 + sum(n >= g for g in gains)) for n in range(480)]
    folder = dataset(tmp_path, {"rec": rows})
    write_goals(folder / "rec", embeds(480))
    args = Args((str(folder),), gained=("dirt",), segments=True, before=3, after=1, output_dir=str(tmp_path / "kept"))
    assert main(args) == 0
    names = sorted(p.name for p in (tmp_path / "kept").iterdir() if p.is_dir())
    assert names == ["rec_000140_000251", "rec_000360_000441"]
    part, whole = Episode(tmp_path / "kept" / names[0]), Episode(folder / "rec")
    assert (part.frames() == whole.frames(140, 251)).all()
    assert np.array_equal(np.asarray(part.goals)[15:], np.asarray(whole.goals)[155:251])
    history = read_history(part.path)
    assert history.items["dirt"][[0, -1]].tolist() == [64, 66]
    assert main(Args((str(tmp_path / "kept"),), gained=("dirt",))) == 0


def test_what_an_earlier_filter_left_in_the_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its episodes do not meet the conditions of now, and its stretches overlap those of now: one would validate the other."""
    rows = {
        "few": [row(n, 64 + (n >= 80)) for n in range(160)],
        "many": [row(n, 64 + min(n // 20, 6)) for n in range(160)],
    }
    folder, out = dataset(tmp_path, rows, mineclip_frames=False), tmp_path / "out"

    def run(target: Path, **conditions: Any) -> str:
        assert main(Args((str(folder),), output_dir=str(target), **conditions)) == 0
        return capsys.readouterr().out

    assert "earlier filter" not in run(out, gained=("dirt",))
    make_episode(out / "mine", 40)
    said = run(out, gained=("dirt=5",))
    assert f"few: kept by an earlier filter, not by this one; they stay in {out}" in said
    assert (out / "few").is_dir()
    cut = {"gained": ("dirt",), "segments": True, "after": 1}
    assert "earlier filter" not in run(tmp_path / "cut", before=4, **cut)
    assert "few_000000_000101: kept by an earlier filter" in run(tmp_path / "cut", before=3, **cut)
    assert "earlier filter" not in run(tmp_path / "other", before=3, **cut)


def test_stretches_of_several_conditions() -> None:
    dirt = [0] * 100 + [1] * 100
    log = [0] * 120 + [1] * 80
    history = flat(200, dirt=dirt, log=log)
    both = [Condition("gained", "dirt", 1), Condition("gained", "log", 1)]
    assert find_stretches(both, history, before=40, after=5) == [(80, 126)]
    assert find_stretches(both, history, before=15, after=5) == []
    assert find_stretches(both[:1], history, before=40, after=5) == [(60, 106)]
    assert find_stretches(both[:1], history, before=10, after=5) == []
    lost = flat(200, dirt=[5] * 50 + [0] * 50 + [5] * 100)
    assert find_stretches([Condition("gained", "dirt", 1)], lost, before=80, after=5) == []


def test_distance_leaves_out_height_and_jumps() -> None:
    position = np.zeros((100, 3))
    position[:, 0] = np.minimum(np.arange(100) * 0.25, 12)
    position[:, 1] = np.arange(100) * 3.0
    history = History({}, {}, position, True)
    assert reached(Condition("travelled", "", 1), history).max() == 12
    # A respawn far away is no journey.
    position[60:, 0] += 5000
    assert reached(Condition("travelled", "", 1), history).max() == 12
    stretches = find_stretches([Condition("travelled", "", 5)], history, before=30, after=0)
    assert stretches == [(0, 49)]
    assert find_stretches([Condition("travelled", "", 9)], history, before=30, after=0) == []


def test_mined_and_travelled_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dataset(tmp_path, {"far": [row(n, x=n * 0.2) for n in range(100)], "near": [row(n, x=n * 0.01) for n in range(100)]})  # fmt: skip
    assert main(Args((str(folder),), travelled=10, mined=("dirt",))) == 0
    text = capsys.readouterr().out
    assert "1 of 2" in text
    assert "19.8 blocks travelled" in text
    assert "nothing was written" in text


def test_episodes_whose_recording_is_gone_or_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dataset(tmp_path, {name: [row(n, 64 + n) for n in range(60)] for name in ("a", "b", "c", "d")})
    make_episode(folder / "e", 60)
    shutil.move(str(tmp_path / "in"), str(tmp_path / "moved"))
    with pytest.raises(UserError, match="No episode could be judged"):
        main(Args((str(folder),), gained=("dirt",)))
    (tmp_path / "moved" / "b.jsonl").unlink()
    with open(tmp_path / "moved" / "c.jsonl", "a") as lines:
        lines.write(json.dumps(row(60)) + "\n")
    metadata = json.loads((folder / "d" / "metadata.json").read_text())
    metadata["keep_nulls"], metadata["source_frames"] = False, 50
    (folder / "d" / "metadata.json").write_text(json.dumps(metadata))
    assert main(Args((str(folder),), gained=("dirt",), recordings=str(tmp_path / "moved"))) == 1
    text = capsys.readouterr().out
    for name, reason in (("b", "gone"), ("c", "not the one"), ("d", "do not fit"), ("e", "not come from a recording")):
        assert any(f"ds/{name}:" in line and reason in line for line in text.splitlines()), (name, text)
    assert "1 of 5 episodes kept" in text


def test_moved_recordings_of_one_name_are_told_apart_by_their_ticks(tmp_path: Path) -> None:
    """Also one whose name would be a pattern, and one beside which another lies at the old place."""
    for place, dirt in (("s1/000", 1), ("s2/000", 2), ("s3/my [1]", 3)):
        path = Path(place)
        make_recording(tmp_path / "in" / path.parent, path.name, [row(n, 64 + dirt * n) for n in range(40)])
    folder = tmp_path / "ds"
    assert convert_folder(tmp_path / "in", folder, ConvertSettings()).count("converted") == 3
    shutil.move(str(tmp_path / "in"), str(tmp_path / "moved"))
    make_recording(tmp_path / "in" / "s2", "000", [row(n) for n in range(40)])
    for name, dirt in (("s1_000", 1), ("s2_000", 2), ("s3_my [1]", 3)):
        found = read_history(folder / name, tmp_path / "moved").items
        assert found["dirt"][39] == 64 + 39 * dirt


def test_recorders_that_write_no_inventory(tmp_path: Path) -> None:
    rows = [tick(n) for n in range(40)]
    for one in rows:
        del one["inventory"]
    folder = dataset(tmp_path, {"rec": rows})
    with pytest.raises(UserError) as caught:
        main(Args((str(folder),), gained=("dirt",)))
    assert "contain no inventory" in caught.value.got


@pytest.mark.parametrize("flags", [{"gained": ("dirt=x",)}, {"gained": ("=3",)}, {"mined": ("log=-1",)}, {"travelled": -3.0}, {}])  # fmt: skip
def test_bad_conditions(flags: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        parse_conditions(flags.get("gained", ()), flags.get("mined", ()), flags.get("travelled", 0.0))
