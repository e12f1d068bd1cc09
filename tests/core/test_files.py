"""Files and folders are whole or not there; errors name where; random streams depend on names only."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from steve1.core.checkpoint_metadata import (
    CheckpointMetadata,
    checkpoint_metadata_path,
    read_checkpoint_metadata,
    write_checkpoint_metadata,
)
from steve1.core.errors import UserError, nearest
from steve1.core.files import HALF_WRITTEN, atomic_dir, atomic_file, atomic_path, read_json, write_json
from steve1.core.frames import agent_frame, mineclip_frame
from steve1.core.paths import ROOT, display, output_path, resolve
from steve1.core.seeds import generator, integer
from tests.goldens import golden_arrays


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"good")
    for maker in (lambda: atomic_file(path), lambda: atomic_path(path)):
        with pytest.raises(OSError, match="full"), maker() as part:
            if isinstance(part, Path):
                part.write_bytes(b"half")
            else:
                part.write(b"half")
            raise OSError("full")
        assert path.read_bytes() == b"good"
        assert os.listdir(tmp_path) == ["weights.bin"]
    with atomic_file(path) as part:
        part.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["film.step-100", "a film.of today", "film.", "film", "film.mp4"])
def test_a_name_may_end_in_anything(name: str, tmp_path: Path) -> None:
    with atomic_path(tmp_path / name) as part:
        part.write_bytes(b"whole")
        assert HALF_WRITTEN.fullmatch(part.name), "it is found when the process was killed"
        assert part.suffix == ".mp4" or name != "film.mp4"
    assert os.listdir(tmp_path) == [name]


def test_a_fault_on_one_line() -> None:
    fault = UserError("It is broken.", where="a file", got="two\nlines", todo="repair it")
    assert fault.one_line == "It is broken; where: a file; got: two lines; next: repair it"
    assert UserError("It is broken.").one_line == "It is broken"


def test_a_folder_appears_whole_and_never_replaces(tmp_path: Path) -> None:
    target = tmp_path / "episode"
    with pytest.raises(RuntimeError), atomic_dir(target) as part:
        (part / "a").write_text("x")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with atomic_dir(target) as part:
        (part / "a").write_text("x")
        assert not target.exists()
    assert (target / "a").read_text() == "x"
    with pytest.raises(UserError, match="exists"), atomic_dir(target):
        pass


@pytest.mark.parametrize("there", ["folder", "file"])
def test_a_folder_that_another_process_made_meanwhile_stays(there: str, tmp_path: Path) -> None:
    target = tmp_path / "episode"
    with pytest.raises(UserError, match="Another process has made"), atomic_dir(target) as part:
        (part / "a").write_text("mine")
        if there == "folder":
            target.mkdir()
        (target / "b" if there == "folder" else target).write_text("other")
    assert os.listdir(tmp_path) == ["episode"]
    assert (target / "b" if there == "folder" else target).read_text() == "other"


def test_json_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"名": [1, 2]})
    assert read_json(path) == {"名": [1, 2]}
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(UserError) as caught:
        read_json(path)
    assert f"{path}:2" in str(caught.value)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="UTF-8"):
        read_json(path)
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "none.json")


def test_errors_say_all_parts_and_survive_processes() -> None:
    fault = UserError("Bad frame.", where="a.mp4 frame 3", expected="u8", got="f32", todo="convert again")
    for text in ("Bad frame.", "a.mp4 frame 3", "u8", "f32", "convert again"):
        assert text in str(fault)
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)
    assert "dig_dirt" in nearest("dig-dirt", ["dig_dirt", "swim"])
    assert nearest("x", [f"n{number:02d}" for number in range(20)]).endswith("n18, n19")
    assert nearest("x", [f"n{number:02d}" for number in range(23)]).endswith("n18, n19 and 3 more")


def test_streams_depend_on_their_names_only() -> None:
    first = generator(0, "goals", 3, 7).integers(0, 1 << 30, 4)
    np.testing.assert_array_equal(first, generator(0, "goals", 3, 7).integers(0, 1 << 30, 4))
    others = [
        generator(1, "goals", 3, 7),
        generator(0, "goals", 37),
        generator(0, "goals", 7, 3),
        generator(0, "goals", "3", 7),
    ]
    assert all((first != other.integers(0, 1 << 30, 4)).any() for other in others)
    # Pinned: a change of the stream would silently change every resumed run.
    assert integer(0, "x") == 1298148713


def test_checkpoint_metadata_is_read_back_and_defaults_to_the_published_model(tmp_path: Path) -> None:
    weights = tmp_path / "my.house.weights"
    assert read_checkpoint_metadata(weights) == CheckpointMetadata()
    metadata = CheckpointMetadata().updated(model="data/mini/mini.model", env="luanti", cond_scale=1.5, prior="")
    write_checkpoint_metadata(weights, metadata)
    assert checkpoint_metadata_path(weights).name == "my.house.weights.json"
    assert read_checkpoint_metadata(weights) == metadata
    for text, fault in (("[]", "wrong form"), ("{}", "does not name a model"), ("{", "not valid JSON")):
        checkpoint_metadata_path(weights).write_text(text)
        with pytest.raises(UserError, match=fault):
            read_checkpoint_metadata(weights)


def test_paths_with_dots_resolve() -> None:
    assert resolve("./data/x.y/z") == ROOT / "data/x.y/z"
    assert display(ROOT / "data" / "a") == "data/a"
    assert display("/elsewhere/a") == "/elsewhere/a"


def test_files_are_read_from_several_folders_and_written_to_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    for folder, name in ((here, "a"), (home, "a"), (home, "b")):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("STEVE1_HOME", str(home))
    assert resolve("a") == here / "a"
    assert resolve("b") == home / "b"
    assert resolve("data/mini/mini.model") == ROOT / "data/mini/mini.model"
    assert resolve("new") == output_path("new") == here / "new"
    assert output_path("b") == here / "b"
    assert display("a") == str(here / "a"), "the whole path"
    assert display(ROOT / "data") == str(ROOT / "data"), "the checkout is not the current folder"


def test_files_that_belong_to_weights_are_found_beside_them(tmp_path: Path) -> None:
    """Copied into one folder, or with the folders that their paths name."""
    weights = tmp_path / "copy" / "data" / "x" / "my.weights"
    weights.parent.mkdir(parents=True)
    (weights.parent / "flat.model").touch()
    (weights.parents[1] / "prior.pt").touch()
    content = {
        "model": "elsewhere/flat.model",
        "prior": "data/prior.pt",
        "mineclip": "data/missing.pth",
        "env": "luanti",
    }
    checkpoint_metadata_path(weights).write_text(json.dumps(content))
    found = read_checkpoint_metadata(weights)
    assert found.model == str(weights.parent / "flat.model")
    assert found.prior == str(weights.parents[1] / "prior.pt")
    assert found.mineclip == "data/missing.pth"


def test_resize_is_the_reference_one() -> None:
    tensors = golden_arrays("resize.npz")
    for index in range(2):
        frame = tensors[f"in{index}"]
        np.testing.assert_array_equal(agent_frame(frame), tensors[f"out128_{index}"])
        np.testing.assert_array_equal(mineclip_frame(frame).transpose(2, 0, 1), tensors[f"mineclip_{index}"])
    with pytest.raises(UserError, match="uint8"):
        agent_frame(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]
