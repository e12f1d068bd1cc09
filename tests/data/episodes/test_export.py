"""Export: what is read back is what was there, bit for bit, in both layouts and through both."""

from __future__ import annotations

import json
import pickle
import pickletools
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from steve1.actions import null_action
from steve1.commands.data.export_dataset import Args, main
from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.exchange.store import shown
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.sampling import is_labelled
from steve1.data.loading.windows import WindowDataset
from steve1.data.quality.validate import check_episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.shards import alone_in
from tests.data.episodes.test_episode import guide_episode, steve1_episode
from tests.data.makers import action, embeds, make_dataset, make_episode, picture


def same(one: Path, other: Path) -> None:
    first, second = Episode(one), Episode(other)
    assert len(first) == len(second)
    assert (first.frames() == second.frames()).all()
    assert (first.frames(20, 31) == second.frames(20, 31)).all()
    assert [{k: np.asarray(v).tolist() for k, v in a.items()} for a in first.actions()] == [
        {k: np.asarray(v).tolist() for k, v in a.items()} for a in second.actions()
    ]
    assert all((a == b).all() for a, b in zip(first.tokens(), second.tokens()))
    assert np.array_equal(np.asarray(first.goals, np.float32), np.asarray(second.goals, np.float32), equal_nan=True)


@pytest.mark.parametrize("kind", ["guide", "steve1"])
@pytest.mark.parametrize("make", [make_episode, guide_episode, steve1_episode])
def test_read_back_it_is_equal(tmp_path: Path, make: object, kind: str) -> None:
    source = make(tmp_path / "in" / "ep", 50)  # type: ignore[operator]
    assert export_episode(source, tmp_path / "out" / "ep", kind) == 50
    same(source, tmp_path / "out" / "ep")
    assert check_episode(tmp_path / "out" / "ep").sound


@pytest.mark.parametrize("kind", ["guide", "steve1"])
def test_an_episode_that_ends_before_its_first_goal_comes_back(tmp_path: Path, kind: str) -> None:
    """Its goals are all NaN: a list of None alone would not say how wide they are, and stopped training on the whole list."""
    for frames in (15, 16, 40):
        source = make_episode(tmp_path / "in" / f"ep{frames}", frames)
        back = tmp_path / kind / source.name
        export_episode(source, back, kind)
        assert np.array_equal(np.asarray(Episode(source).goals), Episode(back).goals, equal_nan=True)
        assert check_episode(back).sound
    entries = [ListEntry(path) for path in sorted((tmp_path / kind).iterdir())]
    assert len(WindowDataset(entries, 16)) == 2, "the short ones are skipped, as those of our own format are"
    assert convert_folder(tmp_path / kind, tmp_path / "back", ConvertSettings(keep_nulls=True)).count("converted") == 3


@pytest.mark.parametrize("kind", ["guide", "steve1"])
def test_labels_of_a_video_are_labels_after_another_format(tmp_path: Path, kind: str) -> None:
    for name, facts in (("label", {"source_kind": "video"}), ("true", {"source_kind": "recording"})):
        with EpisodeWriter(tmp_path / "in" / name, facts) as writer:
            for number in range(20):
                writer.add(picture(number), action(number))
        export_episode(tmp_path / "in" / name, tmp_path / "out" / name, kind)
    convert_folder(tmp_path / "out", tmp_path / "back", ConvertSettings())
    export_episode(tmp_path / "back" / "label", tmp_path / "twice" / "in" / "label", kind)
    convert_folder(tmp_path / "twice" / "in", tmp_path / "twice" / "back", ConvertSettings())
    for folder in ("in", "out", "back", "twice/in", "twice/back"):
        assert is_labelled(Episode(tmp_path / folder / "label")), folder
    for folder in ("in", "out", "back"):
        assert not is_labelled(Episode(tmp_path / folder / "true"))


def test_there_and_back_through_all_layouts(tmp_path: Path) -> None:
    source = make_episode(tmp_path / "in" / "ep", 50)
    export_episode(source, tmp_path / "guide" / "ep", "guide")
    export_episode(tmp_path / "guide" / "ep", tmp_path / "steve1" / "ep", "steve1")
    export_episode(tmp_path / "steve1" / "ep", tmp_path / "again" / "ep", "guide")
    same(source, tmp_path / "again" / "ep")
    for folder in ("guide", "steve1"):
        convert_folder(tmp_path / folder, tmp_path / f"native_{folder}", ConvertSettings(keep_nulls=True))
        whole, back = Episode(source), Episode(tmp_path / f"native_{folder}" / "ep")
        assert back.actions() == whole.actions()
        assert all((a == b).all() for a, b in zip(whole.tokens(), back.tokens()))
        assert np.array_equal(np.asarray(whole.goals), np.asarray(back.goals), equal_nan=True)
        # The packed frames are JPEGs of JPEGs here: nearly, not exactly, the same.
        assert np.abs(back.frames().astype(int) - whole.frames()).mean() < 0.5


@pytest.mark.parametrize("kind", ["guide", "steve1"])
def test_there_and_back_it_says_what_it_shows_and_who_made_its_goals(tmp_path: Path, kind: str) -> None:
    said = {"behaviour": "dig_dirt", "captions": ["dig dirt"], "mineclip": {"sha256": "ab"}}
    for name, still in (("whole", -1), ("cut", 20)):
        with EpisodeWriter(tmp_path / "in" / name, {**said, "events": [[30, "mine_block:dirt"]]}) as writer:
            for number in range(50):
                writer.add(picture(number), null_action() if number == still else action(number))
            writer.goals = embeds(50)
        export_episode(tmp_path / "in" / name, tmp_path / kind / name, kind)
    convert_folder(tmp_path / kind, tmp_path / "out", ConvertSettings())
    whole, cut = (Episode(tmp_path / "out" / name).metadata for name in ("whole", "cut"))
    assert {key: whole[key] for key in said} == said
    assert whole["events"] == [[30, "mine_block:dirt"]]
    assert whole["origin"]["exported"]["layout"] == kind
    assert "mineclip" not in cut, "its goals were left behind, since a null frame was dropped"
    assert (cut["captions"], cut["events"]) == (["dig dirt"], [[29, "mine_block:dirt"]])


def test_the_guides_files(tmp_path: Path) -> None:
    source = make_episode(tmp_path / "in" / "ep", 40)
    export_episode(source, tmp_path / "ep", "guide")
    assert sorted(p.name for p in (tmp_path / "ep").iterdir()) == ["actions.jsonl", "embeds_attn.pkl", "frames", "metadata.json"]  # fmt: skip
    assert [p.name for p in sorted((tmp_path / "ep" / "frames").iterdir())][:2] == ["00000.png", "00001.png"]
    assert cv2.imread(str(tmp_path / "ep" / "frames" / "00039.png")).shape == (128, 128, 3)


def test_pickles_are_plain_and_name_numpy_as_every_version_does(tmp_path: Path) -> None:
    source = make_episode(tmp_path / "in" / "ep", 40)
    export_episode(source, tmp_path / "ep", "steve1")
    for name in ("actions.pkl", "embeds_attn.pkl"):
        data = (tmp_path / "ep" / name).read_bytes()
        names = {str(argument) for code, argument, _ in pickletools.genops(data) if code.name == "GLOBAL"}
        assert names
        assert all(n.startswith(("numpy.core.multiarray ", "numpy ", "_codecs ")) for n in names), names
    actions = pickle.loads((tmp_path / "ep" / "actions.pkl").read_bytes())
    assert actions[3]["camera"].dtype == np.float64
    rows = pickle.loads((tmp_path / "ep" / "embeds_attn.pkl").read_bytes())
    assert rows[:15] == [None] * 15
    assert rows[15].shape == (1, 24)
    assert (tmp_path / "ep" / "len.txt").read_text() == "40\n"


def test_an_ordinary_video_is_smaller_and_close(tmp_path: Path) -> None:
    source = make_episode(tmp_path / "in" / "ep", 60)
    export_episode(source, tmp_path / "a", "steve1")
    export_episode(source, tmp_path / "b", "steve1", lossless=False)
    sizes = [(tmp_path / name / "frames.mp4").stat().st_size for name in ("a", "b")]
    assert sizes[1] < sizes[0]
    error = np.abs(Episode(tmp_path / "b").frames().astype(int) - Episode(source).frames()).mean()
    assert 0 < error < 3


@pytest.mark.parametrize("bad", [{"camera": [0.0]}, {"camera": None}, {"camera": ["a", "b"]}, {"forward": "x"}])
def test_an_action_that_is_none_is_refused_with_its_frame(
    tmp_path: Path, bad: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(tmp_path / "ds", [20, 20], goals=False)
    lines = (folder / "ep01" / "actions.jsonl").read_text().splitlines()
    lines[7] = json.dumps(json.loads(lines[7]) | bad)
    (folder / "ep01" / "actions.jsonl").write_text("\n".join(lines) + "\n")
    assert main(Args((str(folder),), output_dir=str(tmp_path / "out"))) == 1
    said = capsys.readouterr().out
    assert "ep01" in said
    assert "an action is not a MineRL action" in said
    assert "frame 7" in said
    with pytest.raises(UserError, match="not a MineRL action"):
        shown(folder / "ep01", "")


@pytest.mark.parametrize("count", [30, 50])
def test_a_video_of_another_length_than_its_actions_is_not_exported(tmp_path: Path, count: int) -> None:
    source = steve1_episode(tmp_path / "ep", 40)
    (source / "len.txt").unlink(missing_ok=True)
    shutil.copy(steve1_episode(tmp_path / "other", count) / "frames.mp4", source / "frames.mp4")
    with pytest.raises(UserError, match="frames do not fit the actions") as fault:
        export_episode(source, tmp_path / "out", "guide")
    assert fault.value.got == str(count)
    assert not (tmp_path / "out").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_dataset(tmp_path / "ds", [30, 30])
    make_episode(folder / "plain", 30, goals=False)
    out = str(tmp_path / "out")
    assert main(Args((str(folder),), to="guide", output_dir=out)) == 0
    assert "3 episodes" in capsys.readouterr().out
    assert not Episode(tmp_path / "out" / "plain").has_goals
    (folder / "ep01" / "actions.jsonl").write_text("{}\n")
    assert main(Args((str(folder),), to="steve1", output_dir=str(tmp_path / "other"))) == 1
    assert "ep01" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == [".export.lock", "ep00", "plain"]
    assert main(Args((str(folder / "ep00"),), output_dir=out)) == 0
    assert "1 skipped (already there)" in capsys.readouterr().out
    with alone_in(tmp_path / "out", work="export"), pytest.raises(UserError, match="Another run"):
        main(Args((str(folder),), output_dir=out))
    with pytest.raises(UserError, match="--output_dir is missing"):
        main(Args((str(folder),)))
    with pytest.raises(UserError, match="holds the episodes"):
        main(Args((str(folder),), output_dir=str(folder)))
