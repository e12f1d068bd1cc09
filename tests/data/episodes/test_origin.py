"""Copies that are there already: made the same way they are left, made otherwise that is said, of another episode they are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steve1.commands.data import export_dataset, filter_dataset, validate_dataset
from steve1.core.files import read_json, write_json
from steve1.data.episodes.episode import Episode, write_goals
from steve1.data.episodes.origin import MADE_FROM
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.makers import embeds, make_episode, make_recording, tick


def filtered(data: Path, out: Path, other: bool = False) -> int:
    return filter_dataset.main(
        filter_dataset.Args((str(data / "sound"),), travelled=2.0 if other else 1.0, output_dir=str(out))
    )


def exported(data: Path, out: Path, other: bool = False) -> int:
    return export_dataset.main(
        export_dataset.Args((str(data / "sound"),), to="steve1", lossless=not other, output_dir=str(out))
    )


def copied(data: Path, out: Path, other: bool = False) -> int:
    return validate_dataset.main(validate_dataset.Args((str(data / "sound"),), repair=str(out), with_sound=True))


def repaired(data: Path, out: Path, other: bool = False) -> int:
    return validate_dataset.main(validate_dataset.Args((str(data / "broken"),), repair=str(out)))


MAKE: dict[str, Callable[..., int]] = {"filter": filtered, "export": exported, "copy": copied, "repair": repaired}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound and a broken episode, each in a folder of its own."""
    root = tmp_path_factory.mktemp("data")
    make_recording(root / "raw", "a", [tick(number, xpos=0.1 * number) for number in range(50)], width=64, height=36)
    convert_folder(root / "raw", root / "sound", ConvertSettings())
    write_goals(root / "sound" / "a", embeds(50))
    shutil.copytree(root / "sound" / "a", root / "broken" / "a")
    (root / "broken" / "a" / "action_tokens.npy").unlink()
    return root


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    for name in ("sound", "broken"):
        shutil.copytree(pristine / name, tmp_path / name)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", MAKE)
def test_the_same_command_again_changes_nothing_and_another_episode_is_refused(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = MAKE[kind](data, out)
    before = content(out / "a")
    origin = Episode(out / "a").metadata[MADE_FROM]
    assert Path(origin["episode"]).name == "a"
    capsys.readouterr()
    assert MAKE[kind](data, out) == first
    said = capsys.readouterr().out
    assert not any(word in said for word in ("note ", "rejected ", "another", "not repaired")), said
    assert content(out / "a") == before
    for folder in ("sound", "broken"):
        write_goals(data / folder / "a", np.nan_to_num(embeds(50)) + 1)
    again = MAKE[kind](data, out)
    said = capsys.readouterr().out
    assert "The episode has changed since this copy" in said
    assert again == 1 or kind == "copy"
    known = read_json(out / "a" / "metadata.json")
    write_json(out / "a" / "metadata.json", known | {MADE_FROM: origin | {"episode": "elsewhere/a"}})
    MAKE[kind](data, out)
    assert "taken by a copy of another episode" in capsys.readouterr().out
    assert content(out / "a").keys() == before.keys()


@pytest.mark.parametrize("kind", ["filter", "export"])
def test_other_settings_are_said_with_both_values(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert MAKE[kind](data, out) == 0
    before = content(out / "a")
    capsys.readouterr()
    assert MAKE[kind](data, out, other=True) == 0
    said = capsys.readouterr().out
    wanted = {
        "filter": "conditions ['1 blocks travelled'] (now ['2 blocks travelled'])",
        "export": "lossless True (now False)",
    }
    assert wanted[kind] in said
    assert "it stays as it is" in said
    assert content(out / "a") == before


@pytest.mark.parametrize("kind", MAKE)
def test_a_copy_that_does_not_say_what_it_was_made_from_is_left(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As earlier versions made it."""
    out = tmp_path / "out"
    MAKE[kind](data, out)
    known = read_json(out / "a" / "metadata.json")
    write_json(out / "a" / "metadata.json", {key: value for key, value in known.items() if key != MADE_FROM})
    before = content(out / "a")
    MAKE[kind](data, out)
    assert content(out / "a") == before
    assert ("exists already" in capsys.readouterr().out) == (kind == "repair")


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("what", ["episode", "folder", "file"])
def test_what_is_no_copy_is_not_taken_for_one(
    kind: str, what: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    if what == "episode":
        make_episode(out / "a", 20)
    elif what == "folder":
        (out / "a").mkdir(parents=True)
        (out / "a" / "note.txt").write_text("mine")
    else:
        out.mkdir()
        (out / "a").write_text("mine")
    before = content(out)
    done = MAKE[kind](data, out)
    said = capsys.readouterr().out
    assert ("exists already" if kind == "repair" else "This name is taken by something that is no copy") in said
    assert "already there)" not in said or "0 skipped" in said
    assert done == 1 or kind == "copy"
    assert {path: held for path, held in content(out).items() if path.startswith("a")} == {
        path: held for path, held in before.items() if path.startswith("a")
    }
