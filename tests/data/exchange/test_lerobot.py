"""LeRobot's datasets: what is written has the form that its readers rely on, and comes back; what others wrote is read or refused by name."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from steve1 import actions as act
from steve1.commands.data.export_dataset import Args, main
from steve1.core.errors import UserError
from steve1.core.frames import write_picture
from steve1.data.episodes.cut import cut_episode
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.exchange.export import export_store
from steve1.data.exchange.lerobot import stats
from steve1.data.exchange.lerobot.read import LeRobotSet
from steve1.data.exchange.lerobot.schema import ACTION_NAMES, PICTURE, Limits
from steve1.data.exchange.lerobot.write import WriterV3, WriterV21
from steve1.data.exchange.store import shown
from steve1.data.loading.sampling import is_labelled
from steve1.data.quality.history import read_history
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.makers import action, make_dataset, make_episode, picture

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
pq = pytest.importorskip("pyarrow.parquet")
KEEP = ConvertSettings(keep_nulls=True, mineclip_frames=False)
VERSIONS = ["lerobot-v3", "lerobot-v2.1"]


def captioned(
    path: Path, frames: int, caption: str, seed: int = 0, imitated: list[tuple[int, int]] | None = None, **more: Any
) -> Path:
    """A native episode with captions, more metadata, a null frame, and stretches in which somebody had taken over."""
    with EpisodeWriter(path, {"source": "test", "captions": [caption, f"please {caption}"], **more}) as writer:
        for number in range(frames):
            writer.add(picture(number, seed=seed), act.null_action() if number == 5 else action(number + seed))
        if imitated:
            writer.imitated = np.zeros(frames, np.bool_)
            for start, stop in imitated:
                writer.imitated[start:stop] = True
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "ds"
    captioned(folder / "a", 40, "dig dirt", behaviour="dig_dirt")
    captioned(folder / "b", 33, "explore", 1, imitated=[(3, 9), (20, 33)])
    captioned(folder / "c", 25, "dig dirt", 2)
    return folder


def exported(folder: Path, target: Path, kind: str) -> Path:
    export_store(sorted(folder.iterdir()), target, kind)
    return target


def strictly(path: Path) -> Any:
    """JSON without NaN."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("kind", VERSIONS)
def test_there_and_back_actions_are_equal_and_pictures_near(dataset: Path, tmp_path: Path, kind: str) -> None:
    exported(dataset, tmp_path / "set", kind)
    summary = convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    assert [result.status for result in summary.results] == ["converted"] * 3, summary.text
    for name in ("a", "b", "c"):
        before, after = Episode(dataset / name), Episode(tmp_path / "back" / name)
        assert after.actions() == before.actions()
        assert all((one == other).all() for one, other in zip(before.tokens(), after.tokens()))
        assert np.abs(after.frames().astype(int) - before.frames()).mean() < 3
        assert after.metadata["captions"] == before.metadata["captions"]
        assert (after.imitated is None) == (before.imitated is None) == (name != "b")
        assert after.imitated is None or (after.imitated == before.imitated).all()
        assert after.metadata.get("behaviour") == before.metadata.get("behaviour")
        assert after.metadata["origin"]["source"] == "test"
    again = convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    assert again.count("exists") == 3


def test_null_frames_are_dropped_on_request_and_takeovers_move_with_the_frames(dataset: Path, tmp_path: Path) -> None:
    exported(dataset, tmp_path / "set", "lerobot-v3")
    convert_folder(tmp_path / "set", tmp_path / "back", ConvertSettings(mineclip_frames=False))
    after = Episode(tmp_path / "back" / "b")
    assert len(after) == 32
    assert np.flatnonzero(after.imitated).tolist() == [*range(3, 8), *range(19, 32)]


@pytest.mark.parametrize("kind", VERSIONS)
def test_frames_that_are_all_context_stay_context(tmp_path: Path, kind: str) -> None:
    """Such as a stretch, cut out of a correction, in which only the policy acts."""
    captioned(tmp_path / "ds" / "a", 30, "explore", imitated=[(20, 30)])
    captioned(tmp_path / "ds" / "c", 30, "explore", 1)
    cut_episode(tmp_path / "ds" / "a", tmp_path / "ds" / "b", 0, 20)
    assert not Episode(tmp_path / "ds" / "b").imitated.any()
    exported(tmp_path / "ds", tmp_path / "set", kind)
    summary = convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    assert [result.status for result in summary.results] == ["converted", "refused", "converted"], summary.text
    assert "there is nothing to imitate" in summary.results[1].reason
    assert Episode(tmp_path / "back" / "c").imitated is None
    asked = ConvertSettings(keep_nulls=True, mineclip_frames=False, policy_frames="imitate")
    assert convert_folder(tmp_path / "set", tmp_path / "all", asked).count("converted") == 3


@pytest.mark.parametrize("kind", VERSIONS)
def test_events_and_labels_come_back(tmp_path: Path, kind: str) -> None:
    events = [[3, "mine_block:dirt"], [20, "pickup:dirt"]]
    captioned(tmp_path / "ds" / "a", 30, "dig dirt", events=events, source_kind="video")
    exported(tmp_path / "ds", tmp_path / "set", kind)
    convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    after = Episode(tmp_path / "back" / "a")
    assert after.metadata["events"] == events
    assert read_history(after.path).mined["dirt"][[2, 3]].tolist() == [0, 1]
    assert is_labelled(after)
    convert_folder(tmp_path / "set", tmp_path / "dropped", ConvertSettings(mineclip_frames=False))  # frame 5 is null
    assert Episode(tmp_path / "dropped" / "a").metadata["events"] == [[3, "mine_block:dirt"], [19, "pickup:dirt"]]


def test_a_caption_that_has_changed_since_is_said(dataset: Path, tmp_path: Path) -> None:
    exported(dataset, tmp_path / "set", "lerobot-v2.1")
    convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    edited = tmp_path / "set" / "meta" / "tasks.jsonl"
    edited.write_text(edited.read_text().replace('"explore"', '"wander"'))
    (tmp_path / "set" / "meta" / "info.json").touch()  # else this process keeps the set open
    notes = {Path(r.episode).name: r.notes for r in convert_folder(tmp_path / "set", tmp_path / "back", KEEP).results}
    assert notes["a"] == notes["c"] == []
    assert "captions ['explore', 'please explore'] (now ['wander'])" in notes["b"][0]


# ---- the traps of the format ----


def test_tasks_are_found_by_the_index_that_pandas_reads(dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(exported(dataset, tmp_path / "set", "lerobot-v3") / "meta" / "tasks.parquet")
    assert table.column_names == ["task_index", "task"]
    described = json.loads(table.schema.metadata[b"pandas"])
    assert described["index_columns"] == ["task"]
    assert {each["name"] for each in described["columns"]} == {"task_index", "task"}
    assert table["task"].to_pylist() == ["dig dirt", "explore"]
    assert LeRobotSet(tmp_path / "set").tasks == {0: "dig dirt", 1: "explore"}


def times(path: Path) -> Iterator[float]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield float(frame.time)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", VERSIONS)
def test_every_frame_lies_at_its_time(dataset: Path, tmp_path: Path, kind: str) -> None:
    root = exported(dataset, tmp_path / "set", kind)
    found = LeRobotSet(root)
    for entry in found.entries:
        assert entry.video is not None
        shown_at = list(times(entry.video))
        first = round(entry.start * 20)
        assert entry.start == pytest.approx(first / 20, abs=1e-9)
        for number in range(entry.length):
            assert abs(shown_at[first + number] - (entry.start + number / 20)) < 1e-4
        stamps = found.rows(entry, ["timestamp"])["timestamp"][:, 0]
        assert np.abs(stamps - np.arange(entry.length) / 20).max() < 1e-4
        # each picture is that of its own frame: the nearest of its neighbours' too
        source = Episode(next(path for path in sorted(dataset.iterdir()) if path.name == "abc"[entry.number]))
        for number, frame in enumerate(found.pictures(entry)):
            errors = [np.abs(frame.astype(int) - other).mean() for other in source.frames()]
            assert int(np.argmin(errors)) == number


def test_a_video_that_is_half_a_frame_off_is_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    path = root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    name = f"videos/{PICTURE}/from_timestamp"
    late = pa.array([value + 0.025 for value in table[name].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index(name), name, late), path)
    summary = convert_folder(root, tmp_path / "back", KEEP)
    assert summary.count("refused") == 3
    assert "no frame at a time that its dataset names" in summary.results[0].reason


def test_files_and_folders_are_begun_anew_at_their_limits(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with WriterV3(tmp_path / "set", Limits(data_mb=0.001, video_mb=0.001, chunk=2)) as writer:
        for name in ("a", "b", "c"):
            episode = shown(dataset / name, name)
            writer.check(episode)
            writer.add(episode)
        writer.finish()
    found = sorted(str(path.relative_to(tmp_path / "set")) for path in (tmp_path / "set").rglob("*.parquet"))
    assert found == [
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        "data/chunk-001/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/tasks.parquet",
    ]
    assert (tmp_path / "set" / "videos" / PICTURE / "chunk-001" / "file-000.mp4").exists()
    back = convert_folder(tmp_path / "set", tmp_path / "back", KEEP)
    assert back.count("converted") == 3, back.text
    assert Episode(tmp_path / "back" / "c").actions() == Episode(dataset / "c").actions()


def test_v21_folders_hold_so_many_episodes(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with WriterV21(tmp_path / "set", Limits(chunk=2)) as writer:
        for name in ("a", "b", "c"):
            episode = shown(dataset / name, name)
            writer.check(episode)
            writer.add(episode)
        writer.finish()
    assert (tmp_path / "set" / "data" / "chunk-001" / "episode_000002.parquet").exists()
    info = strictly(tmp_path / "set" / "meta" / "info.json")
    assert (info["total_chunks"], info["total_videos"], info["chunks_size"]) == (2, 3, 2)
    assert convert_folder(tmp_path / "set", tmp_path / "back", KEEP).count("converted") == 3


def test_statistics_are_numbers_and_those_of_numpy(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    found = strictly(root / "meta" / "stats.json")
    episodes = [Episode(path) for path in sorted(dataset.iterdir())]
    yaw = np.concatenate([[each["camera"][1] for each in episode.actions()] for episode in episodes]).astype(np.float32)
    place = ACTION_NAMES.index("camera_yaw")
    assert found["action"]["mean"][place] == pytest.approx(yaw.mean(), rel=1e-5)
    assert found["action"]["std"][place] == pytest.approx(yaw.std(), rel=1e-5)
    assert (found["action"]["min"][place], found["action"]["max"][place]) == (yaw.min(), yaw.max())
    assert found["action"]["count"] == [98]
    assert found["action"]["std"][ACTION_NAMES.index("ESC")] == 0
    pictures = np.concatenate([episode.frames() for episode in episodes]) / 255
    assert np.asarray(found[PICTURE]["mean"]).shape == (3, 1, 1)
    assert np.allclose(np.asarray(found[PICTURE]["mean"])[:, 0, 0], pictures.mean((0, 1, 2)))
    assert np.allclose(np.asarray(found[PICTURE]["std"])[:, 0, 0], pictures.std((0, 1, 2)))
    one = stats.PictureCounts()
    for frame in episodes[0].frames():
        one.add(frame)
    exact = np.quantile(episodes[0].frames() / 255, 0.5, axis=(0, 1, 2), method="inverted_cdf")
    assert np.allclose(one.stats()["q50"][:, 0, 0], exact)


def test_a_camera_that_is_no_number_is_refused_and_the_rest_exported(dataset: Path, tmp_path: Path) -> None:
    path = dataset / "b" / "actions.jsonl"
    lines = path.read_text().splitlines()
    lines[7] = lines[7].rpartition('"camera":')[0] + '"camera":[NaN,0.0]}'
    path.write_text("\n".join(lines) + "\n")
    written = export_store(sorted(dataset.iterdir()), tmp_path / "set", "lerobot-v3")
    assert (written.episodes, len(written.refused)) == (2, 1)
    assert "frame 7" in written.refused[0][1]
    strictly(tmp_path / "set" / "meta" / "stats.json")
    rows = pq.read_table(tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet")
    assert sorted(set(rows["episode_index"].to_pylist())) == [0, 1]  # without a gap
    assert rows["index"].to_pylist() == list(range(65))


def test_columns_have_the_types_that_lerobot_writes(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    file = pq.ParquetFile(root / "data" / "chunk-000" / "file-000.parquet")
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types["action"].startswith("fixed_size_list<")
    assert types["action"].endswith("float>[25]")
    assert [types[name] for name in ("timestamp", "frame_index", "episode_index", "index", "task_index", "intervention")] == ["float", "int64", "int64", "int64", "int64", "bool"]  # fmt: skip
    assert file.num_row_groups == 3
    info = strictly(root / "meta" / "info.json")
    assert [name for name in info["features"] if name != PICTURE] == list(types)
    assert not any("/" in name for name in info["features"])
    assert info["features"][PICTURE]["shape"] == [128, 128, 3]


# ---- what others write ----


def edit(root: Path, **changes: Any) -> None:
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps(info | changes))


def reason(root: Path, tmp_path: Path) -> str:
    summary = convert_folder(root, tmp_path / "out", KEEP)
    assert summary.count("converted") == 0
    return summary.results[0].reason


def test_another_version_is_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    edit(root, codebase_version="v1.6")
    assert "v1.6" in reason(root, tmp_path)


@pytest.mark.parametrize("column", ["length", "episode_index", "data/file_index"])
def test_a_list_of_episodes_that_pandas_has_written_is_read_and_a_gap_in_it_named(
    dataset: Path, tmp_path: Path, column: str
) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    (path,) = (root / "meta" / "episodes").rglob("*.parquet")
    table = pq.read_table(path)

    def write(values: list[float | None]) -> None:
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, pa.array(values, pa.float64())), path)

    numbers = [float(value) for value in table[column].to_pylist()]
    write([*numbers])
    assert convert_folder(root, tmp_path / "back", KEEP).count("converted") == 3
    write([None, *numbers[1:]])
    os.utime(root / "meta" / "info.json", ns=(1, 1))  # datasets are kept open by its date
    assert "list of this dataset's episodes" in reason(root, tmp_path)


def test_a_missing_file_is_named(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v2.1")
    (root / "videos" / "chunk-000" / PICTURE / "episode_000001.mp4").unlink()
    summary = convert_folder(root, tmp_path / "out", KEEP)
    assert (summary.count("converted"), summary.count("refused")) == (2, 1)
    assert "episode_000001.mp4" in next(each.reason for each in summary.results if each.status == "refused")
    other = Path(shutil.copytree(root, tmp_path / "other"))
    (other / "meta" / "episodes.jsonl").unlink()
    assert "episodes.jsonl" in reason(other, tmp_path / "again")


def renamed(root: Path, names: Any) -> None:
    features = json.loads((root / "meta" / "info.json").read_text())["features"]
    del features["steve1.camera"]
    features["action"]["names"] = names
    edit(root, features=features)
    (root / "steve1" / "episodes.jsonl").unlink()


def test_other_names_need_a_mapping_which_the_message_shows(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    renamed(root, {"keys": [f"key_{name}" for name in ACTION_NAMES[:23]], "mouse": ["dy", "dx"]})
    said = reason(root, tmp_path)
    assert "mapping.yaml" in said
    assert "camera_pitch" in said
    assert "key_attack" in said
    (root / "steve1" / "mapping.yaml").write_text(
        "actions:\n  forward: key_forward\n  attack: 'action:1'\n  camera_pitch: {column: dy, scale: 0.5}\n  camera_yaw: dx\n"
    )
    summary = convert_folder(root, tmp_path / "mapped", KEEP)
    assert summary.count("converted") == 3, summary.text
    after, before = Episode(tmp_path / "mapped" / "episode_000000"), Episode(dataset / "a")
    assert [each["attack"] for each in after.actions()] == [each["attack"] for each in before.actions()]
    assert after.actions()[9]["camera"][0] == pytest.approx(before.actions()[9]["camera"][0] / 2)
    assert "never pressed" in summary.results[0].notes[0]
    assert "jump" in summary.results[0].notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("actions: {forwards: key_w}", "forward"),
        ("actions: {forward: nothing}", "does not have"),
        ("actions: {forward: 'action:99'}", "does not have"),
        ("actions: [1]", "another form"),
        ("pictures: x", "another form"),
        ("picture: x", "Which of this dataset's pictures"),
        (": : :", "not YAML"),
    ],
)
def test_a_wrong_mapping_is_refused(dataset: Path, tmp_path: Path, text: str, said: str) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    (root / "steve1" / "mapping.yaml").write_text(text)
    assert said in reason(root, tmp_path)


def test_names_as_seen_in_real_sets_are_read(dataset: Path, tmp_path: Path) -> None:
    for number, names in enumerate([[list(ACTION_NAMES)], {"motors": list(ACTION_NAMES)}, dict.fromkeys(ACTION_NAMES)]):
        root = exported(dataset, tmp_path / f"set{number}", "lerobot-v3")
        renamed(root, names)
        edit(root, fps=20.0, video_files_size_in_mb=500)
        assert convert_folder(root, tmp_path / f"back{number}", KEEP).count("converted") == 3


def test_another_rate_is_resampled_to_twenty(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v2.1")
    edit(root, fps=40)
    # The same frames at 40 a second: the video's times are halved.
    for path in root.rglob("*.mp4"):
        frames = [frame.to_ndarray(format="rgb24") for frame in av.open(str(path)).decode(video=0)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=40)
            stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    convert_folder(root, tmp_path / "back", KEEP)
    after, before = Episode(tmp_path / "back" / "a"), Episode(dataset / "a")
    assert len(after) == 20
    total = np.sum([each["camera"] for each in before.actions()], axis=0)
    assert np.allclose(np.sum([each["camera"] for each in after.actions()], axis=0), total)


def test_pictures_in_the_table_are_read(dataset: Path, tmp_path: Path) -> None:
    import cv2

    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][PICTURE] |= {"dtype": "image", "shape": [3, 128, 128]}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    path = root / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    frames = [frame for each in sorted(dataset.iterdir()) for frame in Episode(each).frames()]
    stored = [{"bytes": cv2.imencode(".png", frame[..., ::-1])[1].tobytes(), "path": None} for frame in frames]
    pq.write_table(table.append_column(PICTURE, pa.array(stored)), path)
    convert_folder(root, tmp_path / "back", KEEP)
    after = Episode(tmp_path / "back" / "b")
    assert np.abs(after.frames().astype(int) - Episode(dataset / "b").frames()).mean() < 1


def test_a_prompt_that_changes_within_an_episode_is_kept(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    path = root / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    tasks = table["task_index"].to_pylist()
    tasks[10:40] = [1] * 30
    column = pa.array(tasks, pa.int64())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", column), path)
    (root / "steve1" / "episodes.jsonl").unlink()
    convert_folder(root, tmp_path / "back", KEEP)
    known = Episode(tmp_path / "back" / "episode_000000").metadata
    assert known["captions"] == ["dig dirt", "explore"]
    assert known["lerobot"]["prompts"] == [[0, "dig dirt"], [10, "explore"]]
    convert_folder(root, tmp_path / "dropped", ConvertSettings(mineclip_frames=False))
    dropped = tmp_path / "dropped" / "episode_000000"
    prompts = Episode(dropped).metadata["lerobot"]["prompts"]
    assert prompts == [[0, "dig dirt"], [9, "explore"]], "the null frame 5 is not there"
    cut_episode(dropped, tmp_path / "cut", 4, 20)
    assert Episode(tmp_path / "cut").metadata["lerobot"]["prompts"] == [[0, "dig dirt"], [5, "explore"]]
    cut_episode(dropped, tmp_path / "end", 20, 39)
    assert Episode(tmp_path / "end").metadata["lerobot"]["prompts"] == [[0, "explore"]]


def test_tasks_that_were_added_since_the_export_are_captions_too(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "set", "lerobot-v3")
    path = root / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    tasks = [0] * 10 + [1] * 30 + table["task_index"].to_pylist()[40:]
    column = pa.array(tasks, pa.int64())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", column), path)
    convert_folder(root, tmp_path / "back", KEEP)
    assert Episode(tmp_path / "back" / "a").metadata["captions"] == ["dig dirt", "please dig dirt", "explore"]


def test_two_datasets_with_the_same_names_are_told_apart_by_their_output_folders(dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        exported(dataset, tmp_path / "sets" / name, "lerobot-v2.1")
    summary = convert_folder(tmp_path / "sets", tmp_path / "back", KEEP)
    assert summary.count("converted") == summary.count("refused") == 3
    assert all("into an output folder of its own" in each.reason for each in summary.results if each.reason)


def test_pictures_of_another_size_are_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    from steve1.data.episodes.export import export_episode

    guide = tmp_path / "mixed"
    export_episode(dataset / "a", guide / "a", "guide")
    big = export_episode(dataset / "b", guide / "b", "guide")
    assert big == 33
    import cv2

    for path in (guide / "b" / "frames").iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (320, 180)))
    written = export_store([guide / "a", guide / "b"], tmp_path / "set", "lerobot-v3")
    assert written.episodes == 1
    assert "128x128" in written.refused[0][1]
    assert "320x180" in written.refused[0][1]


@pytest.mark.parametrize("kind", VERSIONS)
def test_large_pictures_go_in_as_they_are_read(tmp_path: Path, kind: str) -> None:
    from tests.data.episodes.test_episode import guide_episode

    episode = guide_episode(tmp_path / "guide" / "a", 16)
    for number, path in enumerate(sorted((episode / "frames").iterdir())):
        write_picture(path, picture(number, 720, 1280))
    assert export_store([episode], tmp_path / "set", kind).episodes == 1
    assert json.loads((tmp_path / "set" / "meta" / "info.json").read_text())["features"][PICTURE]["shape"][:2] == [360, 640]  # fmt: skip
    assert convert_folder(tmp_path / "set", tmp_path / "back", KEEP).count("converted") == 1


def test_a_damaged_picture_is_refused_before_anything_of_the_episode_is_written(dataset: Path, tmp_path: Path) -> None:
    pack = dataset / "b" / "frames.jpgs"
    data = bytearray(pack.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    pack.write_bytes(bytes(data))
    written = export_store(sorted(dataset.iterdir()), tmp_path / "set", "lerobot-v3")
    assert (written.episodes, len(written.refused)) == (2, 1)
    assert convert_folder(tmp_path / "set", tmp_path / "back", KEEP).count("converted") == 2
    assert Episode(tmp_path / "back" / "c").actions() == Episode(dataset / "c").actions()


# ---- the command ----


def test_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_episode(dataset / "plain", 20)
    out = tmp_path / "out"
    assert main(Args((str(dataset),), to="lerobot-v3", output_dir=str(out))) == 0
    said = capsys.readouterr().out
    assert "4 episodes (118 frames) exported" in said
    assert "1 episodes have no caption" in said
    with pytest.raises(UserError, match="exists already"):
        main(Args((str(dataset),), to="lerobot-v3", output_dir=str(out)))
    assert main(Args((str(dataset),), to="lerobot-v2.1", output_dir=str(tmp_path / "v2"), task="play")) == 0
    assert LeRobotSet(tmp_path / "v2").tasks == {0: "dig dirt", 1: "explore", 2: "play"}
    (dataset / "b" / "actions.jsonl").write_text("{}\n")
    assert main(Args((str(dataset),), to="lerobot-v3", output_dir=str(tmp_path / "less"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_what_stops_half_way_leaves_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WriterV3, "_begin_files", stop)
    with pytest.raises(KeyboardInterrupt):
        export_store(sorted(dataset.iterdir()), tmp_path / "set", "lerobot-v3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds"]
    monkeypatch.undo()
    for name in (
        ".set.4194999.0123abcd.tmp",
        ".other.4194999.0123abcd.tmp",
    ):  # what killed exports left: of this dataset, of another
        (tmp_path / name).mkdir()
    export_store(sorted(dataset.iterdir()), tmp_path / "set", "lerobot-v3")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.4194999.0123abcd.tmp", "ds", "set"]


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["lerobot-v3", "minestudio"])
def test_more_episodes_need_no_more_memory(tmp_path: Path, kind: str) -> None:
    if kind == "minestudio":
        pytest.importorskip("lmdb", reason="lmdb is not installed (extra minestudio)")
    folder = make_dataset(tmp_path / "ds", [32] * 24, goals=False)
    peaks = []
    for count in (4, 24):
        tracemalloc.start()
        export_store(sorted(folder.iterdir())[:count], tmp_path / f"set{count}", kind)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e6  # one decoded episode is 1.6 MB
