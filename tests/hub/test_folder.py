"""Pushing to a folder and pulling from it: checksums, resuming, nothing replaced unasked; and the cards."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from steve1.commands.tools import pull as pull_command
from steve1.commands.tools import push as push_command
from steve1.commands.tools.doctor_games import weights as weights_found
from steve1.commands.tools.doctor_machine import Machine
from steve1.core import files
from steve1.core.checkpoint_metadata import GoalFile, read_checkpoint_metadata, write_goal
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.hub import places, transfer
from steve1.hub.bundle import bundle_of
from steve1.hub.manifest import MANIFEST
from steve1.hub.places import FolderPlace, HubPlace, batches, place_of
from steve1.hub.transfer import Bundle, pull, push
from tests.data.makers import make_dataset

MINI = ROOT / "data" / "mini"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    files = {}
    for name, size in (("a.bin", 5000), ("sub/b.bin", 300), ("c.json", 20)):
        (folder / name).write_bytes(np.random.default_rng(size).bytes(size))
        files[name] = folder / name
    return Bundle("weights", files, "# card\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_and_back(bundle: Bundle, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "shared")
    assert sorted(push(bundle, place).sent) == sorted(bundle.files)
    assert (tmp_path / "shared" / "README.md").read_text() == "# card\n"
    kind, moved = pull(place, tmp_path / "here")
    assert (kind, len(moved.sent)) == ("weights", 3)
    found = contents(tmp_path / "here")
    assert found.pop("README.md") == b"# card\n"
    assert found == {name: file.read_bytes() for name, file in bundle.files.items()}
    again = pull(place, tmp_path / "here")[1]
    assert (again.sent, len(again.there)) == ([], 3)
    once_more = push(bundle, place)
    assert (once_more.sent, len(once_more.there)) == ([], 3)


def test_what_other_tools_hide_in_a_folder_is_no_part_of_it(bundle: Bundle, tmp_path: Path) -> None:
    """A clone of a repository has a folder .git, and one that the hub's own tools downloaded has .cache."""
    clone = tmp_path / "clone"
    (clone / ".git" / "refs").mkdir(parents=True)
    (clone / ".git" / "refs" / "HEAD").write_text("0")
    assert push(bundle, FolderPlace(clone)).sent
    (clone / MANIFEST).unlink()
    assert "README.md" in pull(FolderPlace(clone), tmp_path / "here")[1].sent
    assert not (tmp_path / "here" / ".git").exists()


def test_a_push_that_broke_off_is_known_and_continued(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, calls = FolderPlace(tmp_path / "shared"), []
    put = FolderPlace.put

    def broken(self: FolderPlace, files: dict[str, Path | str], message: str, gone: Sequence[str] = ()) -> None:
        calls.append(sorted(files))
        if len(calls) == 3:
            raise UserError("The disk is full.")
        put(self, files, message, gone)

    monkeypatch.setattr("steve1.hub.transfer.batches", lambda files, sizes: batches(files, sizes, count=1))
    monkeypatch.setattr(FolderPlace, "put", broken)
    with pytest.raises(UserError, match="full"):
        push(bundle, place)
    monkeypatch.setattr(FolderPlace, "put", put)
    with pytest.raises(UserError, match="not finished"):
        pull(place, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    moved = push(bundle, place)
    assert (len(moved.there), len(moved.sent)) == (1, 2)
    assert pull(place, tmp_path / "here")[0] == "weights"


def test_nothing_is_replaced_unasked(bundle: Bundle, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="Other files are there"):
        push(bundle, FolderPlace(foreign))
    assert contents(foreign) == {"mine.txt": b"mine"}
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    bundle.files["a.bin"].write_bytes(b"other")
    with pytest.raises(UserError, match="other contents"):
        push(bundle, place)
    pull(place, tmp_path / "here")
    assert push(bundle, place, overwrite=True).sent == ["a.bin"]
    with pytest.raises(UserError, match="other contents"):
        pull(place, tmp_path / "here")
    assert pull(place, tmp_path / "here", overwrite=True)[1].sent == ["a.bin"]
    assert (tmp_path / "here" / "a.bin").read_bytes() == b"other"


def test_a_push_replaces_no_readme_that_somebody_wrote(bundle: Bundle, tmp_path: Path) -> None:
    readme = tmp_path / "shared" / "README.md"
    readme.parent.mkdir()
    readme.write_text("# by hand\n")
    with pytest.raises(UserError, match="Other files are there") as fault:
        push(bundle, FolderPlace(readme.parent))
    assert fault.value.got == "README.md"
    assert contents(readme.parent) == {"README.md": b"# by hand\n"}
    push(bundle, FolderPlace(readme.parent), overwrite=True)
    assert readme.read_text() == "# card\n"
    push(dataclasses.replace(bundle, card="# card 2\n"), FolderPlace(readme.parent))
    assert readme.read_text() == "# card 2\n", "an older card of ours"
    readme.write_text("# card 2\nThree weeks of notes\n")
    with pytest.raises(UserError, match="An earlier push has other contents"):
        push(bundle, FolderPlace(readme.parent))
    assert "weeks" in readme.read_text()


def mini_family(folder: Path, names: dict[str, str]) -> Path:
    """The mini weights below `folder` with their files at these places, which their .json names; returns the weights."""
    for part, name in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(
            MINI / {"weights": "mini.weights", "model": "mini.model"}.get(part, f"mini_{part}.safetensors"),
            folder / name,
        )
    known = json.loads((MINI / "mini.weights.json").read_text())
    known |= {part: name for part, name in names.items() if part != "weights"}
    weights = folder / names["weights"]
    weights.with_name(weights.name + ".json").write_text(json.dumps(known))
    return weights


def test_two_files_of_one_name_are_not_pushed_into_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = mini_family(
        tmp_path,
        {
            "weights": "policy/p.weights",
            "model": "policy/p.model",
            "mineclip": "clip/model.safetensors",
            "prior": "prior/model.safetensors",
        },
    )
    with pytest.raises(UserError, match="have the same name") as fault:
        bundle_of(weights)
    assert "rename one of them, and in p.weights.json too" in fault.value.todo


def test_pulled_weights_use_the_prior_that_came_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this project has a file of its own at the path that their .json names; the doctor finds them too."""
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    place = "data/weights/steve1"
    names = {
        "weights": "house.weights",
        "model": "house.model",
        "mineclip": "clip.safetensors",
        "prior": "my_prior.safetensors",
    }
    weights = mini_family(tmp_path / "theirs", {part: f"{place}/{name}" for part, name in names.items()})
    push(bundle_of(weights), FolderPlace(tmp_path / "shared"))
    ours = tmp_path / "ours"
    (ours / place).mkdir(parents=True)
    monkeypatch.chdir(ours)
    pull(FolderPlace(tmp_path / "shared"), ours / "data/weights/house")
    machine = Machine(ours)
    assert [found.state for found in weights_found(machine, False) if "house" in found.text] == ["ok"]
    (ours / place / "my_prior.safetensors").write_bytes(b"our own prior")
    pulled = read_checkpoint_metadata(ours / "data/weights/house/house.weights")
    assert Path(pulled.prior).resolve() == ours / "data/weights/house/my_prior.safetensors"
    assert Path(pulled.model).resolve() == ours / "data/weights/house/house.model"


def test_what_is_no_longer_pushed_is_removed_when_asked(bundle: Bundle, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    (tmp_path / "shared" / "notes.txt").write_text("mine")  # no push has made it
    del bundle.files["sub/b.bin"]
    with pytest.raises(UserError, match="not among these"):
        push(bundle, place)
    assert (tmp_path / "shared" / "sub" / "b.bin").exists()
    push(bundle, place, overwrite=True)
    assert sorted(contents(tmp_path / "shared")) == ["README.md", "a.bin", "c.json", "notes.txt", MANIFEST]
    assert sorted(pull(place, tmp_path / "here")[1].sent) == ["a.bin", "c.json"]


def test_a_folder_is_not_pushed_into_itself(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "ds", [20], goals=False)
    with pytest.raises(UserError, match="into itself"):
        push_command.main(push_command.Args(str(dataset), to=str(dataset / "shared")))
    assert not (dataset / "shared").exists()


def test_a_folder_is_not_pulled_into_itself(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # user/name is the folder of this name where there is one: what an interrupted pull from the hub has left of itself.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    (tmp_path / "user" / "name" / "a.bin").write_bytes(b"a")
    with pytest.raises(UserError, match="into itself"):
        pull_command.main(pull_command.Args("user/name", output_dir="user/name"))


def test_a_file_that_changed_on_its_way_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    (tmp_path / "shared" / "a.bin").write_bytes(bytes(5000))
    with pytest.raises(UserError, match="sha256 of this download is wrong"):
        pull(place, tmp_path / "here")
    assert not (tmp_path / "here" / "a.bin").exists()


@pytest.mark.parametrize("path", ["../a", "/etc/x", "a/../../b", "C:\\x", "c:x", ""])
def test_a_list_that_leads_out_of_the_folder_is_refused(bundle: Bundle, tmp_path: Path, path: str) -> None:
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    content = json.loads((tmp_path / "shared" / MANIFEST).read_text())
    content["files"][path] = content["files"]["a.bin"]
    (tmp_path / "shared" / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(UserError, match="outside its folder"):
        pull(place, tmp_path / "here")


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 9, "kind": "x", "complete": true, "files": {}}', "x"])
def test_another_list_of_files_is_refused(bundle: Bundle, tmp_path: Path, text: str) -> None:
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    (tmp_path / "shared" / MANIFEST).write_text(text)
    with pytest.raises(UserError):
        pull(place, tmp_path / "here")


def test_where_a_name_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(place_of("user/name", "model", writing=True), HubPlace)
    for text in ("./user/name", "/user/name", "a/b/c", "file:///user/na%20me"):
        assert isinstance(place_of(text, "model", writing=True), FolderPlace)
    assert place_of("file:///user/na%20me", "model", writing=True).name == "/user/na me"
    (tmp_path / "user" / "name").mkdir(parents=True)
    assert isinstance(place_of("user/name", "model", writing=False), FolderPlace)
    with pytest.raises(UserError, match="not known here"):
        place_of("https://x.org/y", "model", writing=True)


# ---- what is pushed, and the cards ----


def head(card: str) -> dict[str, object]:
    found = yaml.safe_load(card.split("---")[1])
    assert isinstance(found, dict)
    return found


def test_weights_go_with_what_belongs_to_them(tmp_path: Path) -> None:
    shutil.copytree(MINI, tmp_path, dirs_exist_ok=True)
    results = {
        "title": "Before and after",
        "sentences": ["dig_dirt improved."],
        "rates": {"dig_dirt": {"mini": {"successes": 3, "episodes": 20, "rate": 0.15, "low": 0.05, "high": 0.36}}},
    }
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "report.json").write_text(json.dumps(results))
    found = bundle_of(tmp_path / "mini.weights", [tmp_path / "eval"], "mit")
    hashes = json.loads((tmp_path / "mini.weights.json").read_text())["hashes"]
    assert found.kind == "weights"
    assert set(found.files) == {"mini.weights", "mini.weights.json", "mini.model", "mini_mineclip.safetensors", "mini_prior.safetensors"}  # fmt: skip
    assert head(found.card)["license"] == "mit"
    for text in (
        f"SHA-256 `{hashes['in_weights']}`",
        "build_pillar",
        "| dig_dirt | 3/20 (5% to 36%) |",
        "dig_dirt improved.",
        "luanti",
    ):
        assert text in found.card
    assert "Nothing was measured" in bundle_of(tmp_path / "mini.weights").card
    with pytest.raises(UserError, match="no results"):
        bundle_of(tmp_path / "mini.weights", [tmp_path])


def test_pulled_weights_find_what_belongs_to_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push_command.main(push_command.Args(str(MINI / "mini.weights"), to=str(tmp_path / "shared")))
    pull_command.main(pull_command.Args(str(tmp_path / "shared"), output_dir=str(tmp_path / "here")))
    assert "5 files pulled" in capsys.readouterr().out
    from steve1.core.checkpoint_metadata import read_checkpoint_metadata

    assert Path(read_checkpoint_metadata(tmp_path / "here" / "mini.weights").model).name == "mini.model"


def test_a_goal_and_a_dataset(tmp_path: Path) -> None:
    write_goal(
        tmp_path / "dig.goal.json", GoalFile(np.ones(4, np.float32), "x.weights", "ab" * 32, "dig dirt", {"steps": 9})
    )
    goal = bundle_of(tmp_path / "dig.goal.json")
    assert goal.repository_kind == "model"
    assert "dig dirt" in goal.card
    assert "| steps | 9 |" in goal.card
    folder = make_dataset(tmp_path / "ds", [20, 20], goals=False)
    data = bundle_of(folder)
    assert (data.kind, data.repository_kind, len(data.files)) == ("episodes", "dataset", 12)
    assert "2 episodes" in data.card
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no episodes"):
        bundle_of(tmp_path / "empty")
    with pytest.raises(UserError, match="nothing to push"):
        bundle_of(tmp_path / "absent.weights")


def test_a_dataset_is_pulled_beside_the_weights_and_not_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, folder in (("weights", "data/weights"), ("episodes", "data")):
        push(dataclasses.replace(bundle, kind=kind), FolderPlace(tmp_path / kind))
        pull_command.main(pull_command.Args(f"./{kind}"))
        assert (tmp_path / folder / kind / "a.bin").is_file()


def test_a_lerobot_dataset_brings_its_own_card_and_the_tag_that_readers_look_for(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra lerobot)")
    from steve1.data.exchange.export import export_store

    folder = make_dataset(tmp_path / "ds", [20], goals=False)
    export_store(sorted(folder.iterdir()), tmp_path / "set", "lerobot-v3", task="dig dirt")
    found = bundle_of(tmp_path / "set")
    assert (found.kind, found.tag) == ("lerobot", "v3.0")
    assert "README.md" not in found.files
    (tmp_path / "set" / "README.md").write_bytes("数据集\n".encode("gb18030"))
    with pytest.raises(UserError, match="not UTF-8") as fault:
        bundle_of(tmp_path / "set")
    assert "数据集" in fault.value.got
    assert head(found.card)["configs"] == [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    assert "LeRobot" in head(found.card)["tags"]  # type: ignore[operator]
    assert "| dig dirt | 1 |" in found.card


def test_dry_run_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push_command.main(push_command.Args(str(MINI / "mini.weights"), dry_run=True))
    assert "not pushed" in capsys.readouterr().out
    with pytest.raises(UserError, match="Say what to push"):
        push_command.main(push_command.Args(str(MINI / "mini.weights")))
    with pytest.raises(UserError, match="Say what to pull"):
        pull_command.main(pull_command.Args())


# ---- the card ----


def test_a_newer_card_comes_and_one_written_here_stays(bundle: Bundle, tmp_path: Path) -> None:
    place, here = FolderPlace(tmp_path / "shared"), tmp_path / "here" / "README.md"
    push(bundle, place)
    pull(place, here.parent)
    push(dataclasses.replace(bundle, card="# second\n"), place)
    push(dataclasses.replace(bundle, card="# third\n"), place)
    assert pull(place, here.parent)[1].kept == []
    assert here.read_text() == "# third\n"
    here.write_text("# mine\n")
    assert pull(place, here.parent)[1].kept == ["README.md"]
    assert here.read_text() == "# mine\n"
    pull(place, here.parent, overwrite=True)
    assert here.read_text() == "# third\n"
    (tmp_path / "shared" / "README.md").write_text("# changed in the browser\n")
    assert pull(place, here.parent)[1].kept == []
    assert here.read_text() == "# changed in the browser\n"


def test_a_pull_says_that_a_readme_stays(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push(bundle, FolderPlace(tmp_path / "shared"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "README.md").write_text("mine")
    pull_command.main(pull_command.Args(str(tmp_path / "shared"), output_dir=str(tmp_path / "here")))
    assert "README.md was written or changed here and stays" in capsys.readouterr().out


def test_each_file_is_hashed_once_at_each_end(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(str(path))
        return files.sha256_file(path)

    for module in (places, transfer):
        monkeypatch.setattr(module, "sha256_file", counted)
    place = FolderPlace(tmp_path / "shared")
    push(bundle, place)
    assert sorted(hashed) == sorted(map(str, bundle.files.values()))
    hashed.clear()
    push(bundle, place)
    here, there = (
        map(str, bundle.files.values()),
        (str(place.path / name) for name in [*bundle.files, "README.md", MANIFEST]),
    )
    assert sorted(hashed) == sorted([*here, *there])
    hashed.clear()
    pull(place, tmp_path / "here")
    assert hashed == [], "the download compares them as they arrive"
    pull(place, tmp_path / "here")
    assert len(hashed) == 3


@pytest.mark.parametrize("kind", ["lerobot-v2.1", "lerobot-v3", "minestudio"])
def test_the_card_of_a_store_counts_its_episodes(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("lmdb" if kind == "minestudio" else "pyarrow")
    from steve1.data.exchange.export import export_store

    folder = make_dataset(tmp_path / "ds", [40, 64], goals=False)
    episodes = sorted(folder.iterdir())
    note = json.loads((episodes[0] / "metadata.json").read_text())
    (episodes[0] / "metadata.json").write_text(json.dumps(note | {"behaviour": "dig_dirt", "source_kind": "luanti"}))
    export_store(episodes, tmp_path / "store", kind)
    (tmp_path / "store" / "README.md").unlink(missing_ok=True)
    card = bundle_of(tmp_path / "store").card
    assert "2 episodes of Minecraft-like play" in card
    assert f"{96 if kind == 'minestudio' else 104} frames" in card
    if kind != "minestudio":
        assert "| dig dirt | 1 |" in card
        assert "| luanti | 1 |" in card
    native = bundle_of(folder).card
    assert "| dig dirt | 1 |" in native, "the caption of its behaviour, as in every export"
    assert "| none | 1 |" in native
