"""Validation and repair: every kind of damage is named by file and frame, and repaired in a copy where it can be."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.data.validate_dataset import Args, main
from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.data.episodes.cut import copy_episode, cut_episode
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.listing import find_datasets
from steve1.data.quality.repair import repair_episode
from steve1.data.quality.validate import check_episode, check_together
from tests.data.episodes.test_episode import guide_episode, steve1_episode
from tests.data.makers import make_dataset, make_episode

N = 60


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_episode(tmp_path_factory.mktemp("ep") / "ep", N)


@pytest.fixture
def episode(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "ds" / "ep")
    return tmp_path / "ds" / "ep"


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}  # fmt: skip


def lines(episode: Path) -> list[str]:
    return (episode / "actions.jsonl").read_text().splitlines()


def zero_frame(episode: Path, number: int) -> None:
    offsets = np.load(episode / "frames_index.npy")
    data = bytearray((episode / "frames.jpgs").read_bytes())
    data[offsets[number] : offsets[number + 1]] = bytes(int(offsets[number + 1] - offsets[number]))
    (episode / "frames.jpgs").write_bytes(bytes(data))


def damage_inside_frame(episode: Path) -> None:
    offsets = np.load(episode / "frames_index.npy")
    data = bytearray((episode / "frames.jpgs").read_bytes())
    start = int(offsets[20] + offsets[21]) // 2
    data[start : start + 40] = bytes([0xFF, 0x3C] * 20)
    (episode / "frames.jpgs").write_bytes(bytes(data))


def set_action(number: int, **changes: Any) -> Callable[[Path], None]:
    def damage(episode: Path) -> None:
        rows = [json.loads(line) for line in lines(episode)]
        rows[number] |= changes
        (episode / "actions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return damage


def drop_lines(count: int) -> Callable[[Path], None]:
    return lambda episode: (episode / "actions.jsonl").write_text("\n".join(lines(episode)[:-count]) + "\n") and None


def bad_json(episode: Path) -> None:
    rows = lines(episode)
    rows[7] = rows[7][:40]
    (episode / "actions.jsonl").write_text("\n".join(rows) + "\n")


def change_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda episode: np.save(episode / name, change(np.load(episode / name)))


def set_at(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[row] = value
        return array

    return change


def cut_bytes(name: str, share: float) -> Callable[[Path], None]:
    def damage(episode: Path) -> None:
        data = (episode / name).read_bytes()
        (episode / name).write_bytes(data[: int(len(data) * share)])

    return damage


def metadata(**changes: Any) -> Callable[[Path], None]:
    return lambda episode: write_json(episode / "metadata.json", read_json(episode / "metadata.json") | changes)


# damage, file named, frame named, frames of the repaired copy, does it keep its embeddings
DAMAGES: dict[str, tuple[Callable[[Path], None], str, int | None, int, bool]] = {
    "zeroed frame": (lambda e: zero_frame(e, 40), "frames.jpgs", 40, 40, True),
    "zeroed early frame": (lambda e: zero_frame(e, 5), "frames.jpgs", 5, 54, True),
    "damaged pixels": (damage_inside_frame, "frames.jpgs", 20, 39, True),
    "pack cut off": (cut_bytes("frames.jpgs", 0.5), "frames.jpgs", None, -1, True),
    "index lost": (lambda e: (e / "frames_index.npy").unlink(), "frames_index.npy", None, N, True),
    "index torn": (cut_bytes("frames_index.npy", 0.6), "frames_index.npy", None, N, True),
    "index shuffled": (change_array("frames_index.npy", set_at(9, 3)), "frames_index.npy", 8, N, True),
    "actions missing at the end": (drop_lines(4), "actions.jsonl", N - 4, N - 4, True),
    "a torn line": (bad_json, "actions.jsonl", 7, N - 8, True),
    "camera not a number": (set_action(30, camera=[0.0, float("nan")]), "actions.jsonl", 30, 30, True),
    "button 7": (set_action(44, forward=7), "actions.jsonl", 44, 44, True),
    "unknown key": (set_action(44, fly=1), "actions.jsonl", 44, 44, True),
    "actions lost": (lambda e: (e / "actions.jsonl").unlink(), "actions.jsonl", 0, N, True),
    "token changed": (change_array("action_tokens.npy", set_at(11, 5)), "action_tokens.npy", 11, N, True),
    "tokens lost": (lambda e: (e / "action_tokens.npy").unlink(), "action_tokens.npy", None, N, True),
    "tokens short": (change_array("action_tokens.npy", lambda a: a[:-3]), "action_tokens.npy", N - 3, N, True),
    "embedding NaN": (change_array("embeds_attn.npy", set_at(33, np.nan)), "embeds_attn.npy", 33, N, False),
    "embedding infinite": (change_array("embeds_attn.npy", set_at(15, np.inf)), "embeds_attn.npy", 15, N, False),
    "embedding zero": (change_array("embeds_attn.npy", set_at(50, 0)), "embeds_attn.npy", 50, N, False),
    "embeddings short": (change_array("embeds_attn.npy", lambda a: a[:-9]), "embeds_attn.npy", N - 9, N, False),
    "embeddings torn": (cut_bytes("embeds_attn.npy", 0.5), "embeds_attn.npy", None, N, False),
    "embeddings flat": (change_array("embeds_attn.npy", lambda a: a[:, 0]), "embeds_attn.npy", None, N, False),
    "video cut off": (cut_bytes("frames_mineclip.mp4", 0.4), "frames_mineclip.mp4", 21, N, True),
    "video cut in its index": (cut_bytes("frames_mineclip.mp4", 0.02), "frames_mineclip.mp4", 0, N, True),
    "metadata lost": (lambda e: (e / "metadata.json").unlink(), "metadata.json", None, N, True),
    "metadata no JSON": (cut_bytes("metadata.json", 0.5), "metadata.json", None, N, True),
    "metadata count": (metadata(n_frames=3), "metadata.json", None, N, True),
    "metadata rate": (metadata(fps=30), "metadata.json", None, N, True),
}


def test_a_sound_episode_has_no_faults(episode: Path) -> None:
    report = check_episode(episode)
    assert report.sound
    assert report.frames == N
    assert report.embed_dim == 24


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_and_repaired_in_a_copy(kind: str, episode: Path, tmp_path: Path) -> None:
    damage, file, frame, frames, keeps_goals = DAMAGES[kind]
    whole = Episode(episode)
    pixels, goals = whole.frames(), np.array(whole.goals)
    damage(episode)
    before = digest(episode)
    report = check_episode(episode)
    named = [(f.file, f.frame) for f in report.findings if not f.warning]
    assert (file, frame) in named or (frame is None and file in {n for n, _ in named}), report.findings
    repair = repair_episode(episode, tmp_path / "fixed" / "ep")
    assert digest(episode) == before
    assert repair.target is not None, repair
    copy = Episode(repair.target)
    assert check_episode(repair.target).sound
    if frames >= 0:
        assert len(copy) == frames, repair
    assert copy.has_goals == keeps_goals
    start = copy.metadata.get("cut", {}).get("start", 0)
    assert (copy.frames() == pixels[start : start + len(copy)]).all()
    if keeps_goals:
        assert np.array_equal(np.asarray(copy.goals)[15:], goals[start + 15 : start + len(copy)])
    assert copy.metadata["repaired"]["done"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda e: (e / "frames.jpgs").write_bytes(b""),
        lambda e: [(e / "actions.jsonl").unlink(), (e / "action_tokens.npy").unlink()],
        lambda e: [zero_frame(e, n) for n in range(3, N, 10)],
        lambda e: (e / "frames.jpgs").unlink(),
    ],
)
def test_what_cannot_be_repaired_leaves_nothing(damage: Callable[[Path], Any], episode: Path, tmp_path: Path) -> None:
    damage(episode)
    assert not check_episode(episode).sound
    repair = repair_episode(episode, tmp_path / "fixed" / "ep")
    assert repair.target is None
    assert repair.done
    assert not (tmp_path / "fixed").exists() or not list((tmp_path / "fixed").iterdir())


def test_guide_and_steve1_layouts(tmp_path: Path) -> None:
    guide, steve1 = guide_episode(tmp_path / "ds" / "a"), steve1_episode(tmp_path / "ds" / "b")
    assert check_episode(guide).sound
    assert check_episode(steve1).sound
    (guide / "frames" / "00030.png").write_bytes(b"no picture")
    found = [f for f in check_episode(guide).findings if not f.warning]
    assert found[0].frame == 30
    assert "00030.png" in found[0].file
    copy = repair_episode(guide, tmp_path / "fixed" / "a")
    assert copy.target is not None
    assert len(Episode(copy.target)) == 30
    with open(steve1 / "actions.pkl", "rb") as handle:
        actions = pickle.load(handle)
    actions[20]["camera"] = [1.0, float("nan")]
    (steve1 / "actions.pkl").write_bytes(pickle.dumps(actions))
    assert [f.frame for f in check_episode(steve1).findings if not f.warning] == [20]
    copy = repair_episode(steve1, tmp_path / "fixed" / "b")
    assert copy.target is not None
    assert len(Episode(copy.target)) == 20


def test_what_is_missing_in_the_middle_pairs_no_frame_with_the_action_of_another(episode: Path, tmp_path: Path) -> None:
    before = Episode(episode).actions()
    rows = lines(episode)
    del rows[25]
    (episode / "actions.jsonl").write_text("\n".join(rows) + "\n")
    copy = repair_episode(episode, tmp_path / "fixed" / "line")
    assert copy.target is not None
    assert Episode(copy.target).actions() == before[:25]
    for name, numbers in (("guide", range(60)), ("seconds", [f"{n / 20:.2f}" for n in range(60)])):
        guide = guide_episode(tmp_path / name)
        for number, new in zip(reversed(range(60)), reversed(numbers)):
            (guide / "frames" / f"{number:05d}.png").rename(guide / "frames" / f"{new}.png")
        before, pixels = Episode(guide).actions(), Episode(guide).frames()
        (guide / "frames" / f"{numbers[30]}.png").unlink()
        assert not check_episode(guide).sound
        copy = repair_episode(guide, tmp_path / "fixed" / name)
        assert copy.target is not None
        assert Episode(copy.target).actions() == before[:30]
        assert np.abs(Episode(copy.target).frames().astype(int) - pixels[:30]).mean() < 3


def test_a_named_length_ends_the_repaired_copy_and_the_mask_too(tmp_path: Path) -> None:
    episode = steve1_episode(tmp_path / "ep")
    (episode / "len.txt").write_text("40")
    np.save(episode / "action_mask.npy", np.arange(60) % 2 == 0)
    assert check_episode(episode).sound
    (episode / "embeds_attn.pkl").write_bytes(b"torn")
    copy = repair_episode(episode, tmp_path / "fixed")
    assert copy.target is not None
    assert len(Episode(copy.target)) == 40


def test_how_sure_the_labels_of_a_video_are_stays_with_the_repaired_copy(episode: Path, tmp_path: Path) -> None:
    sure = np.arange(2 * N, dtype="<f2").reshape(N, 2)
    np.save(episode / "label_logp.npy", sure)
    zero_frame(episode, 5)
    copy = repair_episode(episode, tmp_path / "fixed")
    assert copy.target is not None
    assert np.array_equal(np.load(copy.target / "label_logp.npy"), sure[6:])


def test_one_size_and_one_mineclip_in_a_dataset(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "ds", [40, 40, 40])
    make_episode(folder / "other", 40, size=16)
    for name, digest_ in (("ep00", "a" * 64), ("ep01", "a" * 64), ("ep02", "b" * 64), ("other", "a" * 64)):
        metadata(mineclip={"sha256": digest_})(folder / name)
    (folder / "notes").mkdir()
    dataset = find_datasets([str(folder)])[0]
    reports = [check_episode(path) for path in dataset.episodes]
    assert all(report.sound for report in reports)
    loose = check_together(dataset, reports)
    assert [report.sound for report in reports] == [True, True, False, False]
    assert [finding.what for finding in loose] == ["this folder is not an episode"]


@pytest.mark.e2e
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_dataset(tmp_path / "ds", [40, 40])
    assert main(Args((str(folder),))) == 0
    set_action(9, jump=4)(folder / "ep01")
    assert main(Args((str(folder),), report=str(tmp_path / "r.jsonl"))) == 1
    text = capsys.readouterr().out
    assert "1 sound, 1 broken" in text
    assert "actions.jsonl, frame 9" in text
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert any(row["file"] == "actions.jsonl" and row["frame"] == 9 for row in rows)
    assert main(Args((str(folder / "ep00"),))) == 0
    assert main(Args((str(folder),), repair=str(tmp_path / "fixed"), with_sound=True, workers=2)) == 1
    assert "1 of 1 broken episodes repaired" in capsys.readouterr().out
    assert main(Args((str(tmp_path / "fixed"),))) == 0
    assert sorted(p.name for p in (tmp_path / "fixed").iterdir()) == ["ep00", "ep01"]
    with pytest.raises(UserError, match="cannot write into the dataset"):
        main(Args((str(folder),), repair=str(folder)))
    with pytest.raises(UserError, match="does not exist"):
        main(Args((str(tmp_path / "nowhere"),)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no episode"):
        main(Args((str(tmp_path / "empty"),)))


def test_the_copy_of_a_read_only_episode_is_not_read_only(tmp_path: Path) -> None:
    """Nobody but root could finish it, embed it or remove it."""
    episode = guide_episode(tmp_path / "ep")
    for folder in (episode / "frames", episode):
        folder.chmod(0o555)
    copy_episode(episode, tmp_path / "copy", {"filtered": {}})
    assert all(folder.stat().st_mode & 0o200 for folder in (tmp_path / "copy", tmp_path / "copy" / "frames"))
    assert digest(tmp_path / "copy").items() > digest(episode).items()
    assert read_json(tmp_path / "copy" / "metadata.json") == {"filtered": {}}


def test_cutting_keeps_pictures_actions_and_goals(episode: Path, tmp_path: Path) -> None:
    whole = Episode(episode)
    cut_episode(episode, tmp_path / "cut", 10, 50)
    cut_episode(tmp_path / "cut", tmp_path / "again", 5, 35)
    part = Episode(tmp_path / "again")
    assert (part.frames() == whole.frames(15, 45)).all()
    assert part.actions() == whole.actions(15, 45)
    assert np.array_equal(np.asarray(part.goals)[15:], np.asarray(whole.goals)[30:45])
    assert np.isnan(part.goals[:15]).all()
    assert part.metadata["cut"] == {"episode": "ep", "start": 15, "stop": 45, "frames": N}
    assert len(list(part.mineclip_frames())) == 30
    with pytest.raises(UserError, match="not in the episode"):
        cut_episode(episode, tmp_path / "no", 10, N + 1)


def test_the_next_line_of_a_repair_can_be_pasted(
    episode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STEVE1_GOES_ON", raising=False)
    (episode / "actions.jsonl").write_text("\n".join(lines(episode)[:-4]) + "\n")
    fixed = tmp_path / "fixed"
    assert main(Args((str(episode.parent),), repair=str(fixed))) == 1
    *_, before, last = capsys.readouterr().out.splitlines()
    assert last == f"next: python tools/generate_mineclip_embeds.py --dataset_dir {fixed}"
    assert before == "--with_sound copies the sound ones there as well"
