"""MineStudio's trajectory store: ours has the form that its readers expect, theirs is read with the restricted reader."""

from __future__ import annotations

import errno
import io
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from steve1.commands.data.filter_dataset import Args, main
from steve1.core.errors import UserError
from steve1.data.episodes.cut import cut_episode
from steve1.data.episodes.episode import Episode
from steve1.data.exchange.export import export_store
from steve1.data.exchange.minestudio import write
from steve1.data.exchange.minestudio.lmdbs import BUTTONS, CHUNK, TrajectoryStore
from steve1.data.exchange.minestudio.write import MineStudioWriter
from steve1.data.exchange.store import shown
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.exchange.test_lerobot import captioned

lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed (extra minestudio)")
KEEP = ConvertSettings(keep_nulls=True, mineclip_frames=False)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "ds"
    captioned(
        folder / "a", 70, "dig dirt", events=[[5, "mine_block:dirt"], [40, "mine_block:dirt"], [69, "pickup:dirt"]]
    )
    captioned(folder / "b", 32, "explore", 1)
    captioned(folder / "short", 20, "explore", 2)
    return folder


def exported(folder: Path, target: Path) -> Path:
    written = export_store(sorted(folder.iterdir()), target, "minestudio")
    assert written.episodes == 2
    assert [Path(name).name for name, _ in written.refused] == ["short"]
    assert written.notes == ["6 frames at the ends of episodes left out: they fill no piece of 32"]
    return target


def values(path: Path) -> dict[str, Any]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): bytes(value) for key, value in transaction.cursor()}


def test_there_and_back_whole_pieces_are_equal(dataset: Path, tmp_path: Path) -> None:
    exported(dataset, tmp_path / "store")
    summary = convert_folder(tmp_path / "store", tmp_path / "back", KEEP)
    assert summary.count("converted") == 2, summary.text
    for name, length in (("a", 64), ("b", 32)):
        before, after = Episode(dataset / name), Episode(tmp_path / "back" / name)
        assert len(after) == length
        lost = ("ESC", "pickItem", "swapHands")
        assert after.actions() == [{**action, **dict.fromkeys(lost, 0)} for action in before.actions(0, length)]
        assert all((one[:length] == other).all() for one, other in zip(before.tokens(), after.tokens()))
        assert np.abs(after.frames().astype(int) - before.frames(0, length)).mean() < 4
    assert Episode(tmp_path / "back" / "a").metadata["events"] == [[5, "mine_block:dirt"], [40, "mine_block:dirt"]]


def test_events_move_with_the_frames_where_null_frames_are_dropped(dataset: Path, tmp_path: Path) -> None:
    convert_folder(exported(dataset, tmp_path / "store"), tmp_path / "back", ConvertSettings(mineclip_frames=False))
    # frame 5 is the null frame: what happened in it stands at the next
    assert Episode(tmp_path / "back" / "a").metadata["events"] == [[5, "mine_block:dirt"], [39, "mine_block:dirt"]]


def test_the_form_that_its_readers_expect(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "store")
    assert sorted(path.name for path in root.iterdir()) == ["action", "event", "image", "meta_info"]
    for modality in ("action", "image", "meta_info"):
        # each folder in a modality is opened as an LMDB: nothing else may lie there
        assert [path.name for path in (root / modality).iterdir()] == ["part-2"]
    action = values(root / "action" / "part-2")
    assert {key for key in action if not key.startswith("__")} == {"(0, 0)", "(0, 32)", "(1, 0)"}
    assert pickle.loads(action["__chunk_size__"]) == CHUNK
    assert pickle.loads(action["__chunk_infos__"]) == [
        {"episode": "a", "episode_idx": 0, "num_frames": 64},
        {"episode": "b", "episode_idx": 1, "num_frames": 32},
    ]
    assert (pickle.loads(action["__num_episodes__"]), pickle.loads(action["__num_total_frames__"])) == (2, 96)
    chunk = pickle.loads(action["(0, 32)"])
    assert set(chunk) == {*BUTTONS, "camera"}
    assert (chunk["attack"].dtype, chunk["attack"].shape) == (np.int64, (32,))
    assert (chunk["camera"].dtype, chunk["camera"].shape) == (np.float64, (32, 2))
    image = values(root / "image" / "part-2")["(0, 32)"]
    with av.open(io.BytesIO(image)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate, stream.codec_context.name) == (224, 224, 20, "h264")
        assert sum(1 for _ in container.decode(stream)) == CHUNK
    event = values(root / "event")
    assert pickle.loads(event["__event_info__"]) == {
        "minecraft.mine_block:minecraft.dirt": {"__num_items__": 2, "__num_episodes__": 1}
    }
    code, frame, value = pickle.loads(event["('minecraft.mine_block:minecraft.dirt', 1)"])
    assert (pickle.loads(event["__codebook__"])["a"], frame, value) == (code, 40, 1)


def test_parts_are_begun_anew(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with MineStudioWriter(tmp_path / "store", part=1) as writer:
        for name in ("a", "b"):
            episode = shown(dataset / name, "")
            writer.check(episode)
            writer.add(episode)
        writer.finish()
    assert sorted(path.name for path in (tmp_path / "store" / "image").iterdir()) == ["part-1", "part-2"]
    assert convert_folder(tmp_path / "store", tmp_path / "back", KEEP).count("converted") == 2


def put(path: Path, changes: dict[str, bytes | None]) -> None:
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for key, value in changes.items():
            if value is None:
                transaction.delete(key.encode())
            else:
                transaction.put(key.encode(), value)


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("modality", "key", "value", "said"),
    [
        ("action", "(0, 32)", None, "(0, 32)"),
        ("image", "(0, 32)", b"no video", "does not decode"),
        ("action", "(0, 0)", pickle.dumps(Runs()), "(0, 0)"),
        ("action", "(0, 0)", pickle.dumps({"attack": np.zeros(32)}), "another form"),
        ("action", "(0, 0)", b"\x80", "(0, 0)"),
    ],
)
def test_a_bad_value_refuses_its_episode_by_name(
    dataset: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    modality: str,
    key: str,
    value: bytes | None,
    said: str,
) -> None:
    root = exported(dataset, tmp_path / "store")
    put(root / modality / "part-2", {key: value})
    summary = convert_folder(root, tmp_path / "back", KEEP)
    assert (summary.count("converted"), summary.count("refused")) == (1, 1)
    found = next(each.reason for each in summary.results if each.status == "refused")
    assert said in found
    assert "executed" not in capfd.readouterr().out


@pytest.mark.parametrize("events", [{"mine_block": 3}, ["jump"], [[3]], [{"frame": 3}], "x", 5, [["3", "x"]]])
def test_events_of_another_form_stand_in_nobodys_way(dataset: Path, tmp_path: Path, events: Any) -> None:
    metadata = json.loads((dataset / "a" / "metadata.json").read_text())
    (dataset / "a" / "metadata.json").write_text(json.dumps({**metadata, "events": events}))
    root = exported(dataset, tmp_path / "store")
    assert convert_folder(root, tmp_path / "back", KEEP).count("converted") == 2
    cut_episode(dataset / "a", tmp_path / "cut", 10, 40)
    assert Episode(tmp_path / "cut").metadata["events"] == []


@pytest.mark.parametrize("name", ["task/a", ".a", "../a"])
def test_an_episode_that_no_folder_can_be_named_after_is_left_out(dataset: Path, tmp_path: Path, name: str) -> None:
    root = exported(dataset, tmp_path / "store")
    infos = [
        {"episode": name, "episode_idx": 0, "num_frames": 64},
        {"episode": "b", "episode_idx": 1, "num_frames": 32},
    ]
    for part in root.glob("*/part-2"):
        put(part, {"__chunk_infos__": pickle.dumps(infos)})
    summary = convert_folder(root, tmp_path / "back", KEEP)
    assert (summary.count("converted"), summary.count("refused")) == (1, 1)
    assert "rename it" in next(each.reason for each in summary.results if each.status == "refused")


@pytest.mark.parametrize(
    ("said", "free", "number"),
    [
        ("mdb_txn_commit: Input/output error", 1000, errno.ENOSPC),
        ("mdb_txn_commit: No space left on device", 1 << 40, errno.ENOSPC),
        ("mdb_txn_commit: Input/output error", 1 << 40, errno.EIO),
    ],
)
def test_a_disk_that_fills_up_is_a_fault_of_the_disk_and_leaves_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free: int, number: int
) -> None:
    class Full:
        def begin(self, write: bool) -> Any:
            raise lmdb.Error(said)

        def close(self) -> None:
            pass

    monkeypatch.setattr(write.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(lmdb, "open", lambda *_, **__: Full())
    with pytest.raises(OSError, match="mdb_txn_commit") as fault:
        export_store(sorted(dataset.iterdir()), tmp_path / "store", "minestudio")
    assert fault.value.errno == number
    assert {path.name for path in tmp_path.iterdir()} == {"ds"}


def test_an_older_store_and_a_missing_part_are_named(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "store")
    infos = [{"episode": "a", "episode_idx": 0, "num_frames": 64}]
    put(root / "image" / "part-2", {"__chunk_infos__": pickle.dumps(infos)})
    summary = convert_folder(root, tmp_path / "back", KEEP)
    assert summary.count("converted") == 1
    assert "no pictures" in next(each.reason for each in summary.results if each.status == "refused")
    other = exported(dataset, tmp_path / "other")
    put(other / "action" / "part-2", {"__chunk_size__": None})
    found = convert_folder(other, tmp_path / "none", KEEP)
    assert "version 1.1" in found.results[0].reason


def test_the_event_index_serves_where_the_frames_name_no_events(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "store")
    put(root / "meta_info" / "part-2", {key: pickle.dumps([{}] * 32) for key in ("(0, 0)", "(0, 32)", "(1, 0)")})
    store = TrajectoryStore(root)
    assert store.events(store.by_name["a"]) == [(5, "mine_block:dirt"), (40, "mine_block:dirt")]
    assert store.events(store.by_name["b"]) == []


def test_events_become_named_clips(dataset: Path, tmp_path: Path) -> None:
    convert_folder(exported(dataset, tmp_path / "store"), tmp_path / "back", KEEP)
    args = Args(
        (str(tmp_path / "back"),), mined=("dirt",), segments=True, before=1.0, after=0.6, caption="mine dirt",
        output_dir=str(tmp_path / "clips"),
    )  # fmt: skip
    assert main(args) == 0
    clip = Episode(tmp_path / "clips" / "a_000020_000053")
    assert clip.metadata["captions"] == ["mine dirt"]
    assert clip.metadata["events"] == [[20, "mine_block:dirt"]]
    assert (clip.frames() == Episode(tmp_path / "back" / "a").frames(20, 53)).all()
    with pytest.raises(UserError, match="no positions"):
        main(Args((str(tmp_path / "back" / "a"),), travelled=3))


def test_published_folders_of_other_names_are_read(dataset: Path, tmp_path: Path) -> None:
    root = exported(dataset, tmp_path / "store")
    (root / "image").rename(root / "video")
    (root / "meta_info").rename(root / "contractor_info")
    assert convert_folder(root, tmp_path / "back", KEEP).count("converted") == 2
