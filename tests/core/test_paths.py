"""Where files are found: weights by their bare names, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.commands.tools.download_weights import FILES
from steve1.core import paths
from steve1.core.errors import UserError
from steve1.core.files import existing_file
from steve1.core.paths import PUBLISHED, download_advice, quoted, resolve, slug


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEVE1_HOME", raising=False)
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    return tmp_path


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("folder", ["data/weights", "data/weights/steve1", "data/mini"])
@pytest.mark.parametrize("name", ["a.weights", "a.safetensors", "2x.model", "a.goal.json", "below/a.weights"])
def test_weights_are_found_by_their_names(project: Path, folder: str, name: str) -> None:
    file = write(project / folder / name)
    assert resolve(name) == existing_file(name, "These weights") == file
    nearer = write(project / name)
    assert resolve(name) == nearer, "what is in the current folder comes first"


def test_other_files_are_not_looked_for_there(project: Path) -> None:
    write(project / "data/weights/list.txt")
    assert resolve("list.txt") == project / "list.txt"
    assert resolve("/nowhere/a.weights") == Path("/nowhere/a.weights")


def test_two_files_of_one_name_are_named(project: Path) -> None:
    for folder in ("weights", "mini"):
        write(project / "data" / folder / "a.weights")
    with pytest.raises(UserError, match="Several files have this name") as fault:
        resolve("a.weights")
    assert "got:      data/weights/a.weights, data/mini/a.weights" in str(fault.value)


def test_hints_name_files_of_the_same_kind(project: Path) -> None:
    for name in ("steve1/redstone.weights", "steve1/redston.safetensors", "vpt/2x.model"):
        write(project / "data/weights" / name)
    with pytest.raises(UserError) as fault:
        existing_file("data/weights/redston.weights", "These weights")
    assert fault.value.expected == "data/weights/steve1/redstone.weights"
    with pytest.raises(UserError) as fault:
        existing_file("data/weights/vpt/3x.model", "The model settings")
    assert fault.value.expected == "data/weights/vpt/2x.model"


def test_downloads_are_advised_for_what_is_published_alone(project: Path) -> None:
    assert {name: file.path for name, file in FILES.items()} == PUBLISHED
    assert download_advice("data/weights/steve1/steve1.weights") == "bash 0_download_weights.sh steve1"
    assert download_advice(project / "data/weights/vpt/2x.model") == "bash 0_download_weights.sh vpt_model"
    assert not download_advice("data/weights/steve1/mine.weights")
    assert not download_advice("steve1.weights")
    with pytest.raises(UserError) as fault:
        existing_file("data/weights/steve1/steve1.weights", "These weights", "name others")
    assert fault.value.todo == "bash 0_download_weights.sh steve1 or name others"


@pytest.mark.parametrize("name", ["a b", "it's", "#1", "$(x)", "房子"])
def test_paths_in_commands_can_be_copied(project: Path, name: str) -> None:
    import shlex

    assert shlex.split(quoted(project / name), comments=True) == [name]


def test_a_name_of_any_letters_leaves_room_for_what_stands_behind_it() -> None:
    assert slug("Build a Wall!") == "build-a-wall"
    assert len(slug("a" * 300)) == 80
    for text in ("建" * 300, "é" * 300, "a" + "建" * 300):
        assert 150 < len(slug(text).encode()) <= 180
