"""Sampling lists: made ones are disjoint and repeatable, written ones are read as people mean them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from steve1.commands.create_sampling import Args, choose_sources
from steve1.core.errors import UserError
from steve1.core.paths import ROOT, resolve
from steve1.data.sampling import Source, create_sampling, list_path, read_list

from .makers import make_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampling")
    make_dataset(folder / "A", [20] * 11, goals=False)
    make_dataset(folder / "B", [20, 30, 40], goals=False)
    make_dataset(folder / "one", [20], goals=False)
    return folder


def test_lists_are_disjoint_seeded_sorted_and_told_in_the_metadata(data: Path, tmp_path: Path) -> None:
    found = create_sampling("x", [Source(data / "A")], val_fraction=0.2, seed=3, folder=tmp_path)
    train, val = (read_list(list_path("x", part, tmp_path)) for part in ("train", "val"))
    names = [[entry.path.name for entry in part] for part in (train, val)]
    assert len(names[0]) == 9
    assert len(names[1]) == 2
    assert not set(names[0]) & set(names[1])
    assert all(part == sorted(part) for part in names)
    assert found == json.loads((tmp_path / "x_metadata.json").read_text())
    assert found["train_frames"] == 180
    assert found["sources"][0]["val_frames"] == 40
    assert len(found["sources"][0]["without_goals"]) == 11
    before = (tmp_path / "x_train.txt").read_text()
    create_sampling("x", [Source(data / "A")], val_fraction=0.2, seed=3, folder=tmp_path)
    assert (tmp_path / "x_train.txt").read_text() == before
    splits = set()
    for seed in range(5):
        create_sampling("x", [Source(data / "A")], val_fraction=0.2, seed=seed, folder=tmp_path)
        splits.add((tmp_path / "x_val.txt").read_text())
    assert len(splits) > 2


def test_a_mix_has_its_shares_and_a_validation_part_of_each(data: Path, tmp_path: Path) -> None:
    create_sampling("mixed", [Source(data / "A", 0.7), Source(data / "B", 0.3)], folder=tmp_path)
    train = read_list(tmp_path / "mixed_train.txt")
    assert {(entry.path.parent.name, entry.weight, entry.section) for entry in train} == {("A", 0.7, 1), ("B", 0.3, 2)}
    assert {entry.path.parent.name for entry in read_list(tmp_path / "mixed_val.txt")} == {"A", "B"}


def test_what_cannot_be_split_or_shared_is_refused(data: Path, tmp_path: Path) -> None:
    for sources, message in [
        ([Source(data / "one")], "at least two episodes"),
        ([Source(data / "nowhere")], "does not exist"),
        ([Source(data / "A", 0.7), Source(data / "B")], "some have none"),
        ([Source(data / "A", 0.7), Source(data / "A", 0.3)], "twice"),
        ([], "at least one"),
    ]:
        with pytest.raises(UserError, match=message):
            create_sampling("x", sources, folder=tmp_path)
    with pytest.raises(UserError, match="between 0 and 1"):
        create_sampling("x", [Source(data / "A")], val_fraction=1.0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lists_edited_by_hand_are_not_replaced(data: Path, tmp_path: Path) -> None:
    create_sampling("x", [Source(data / "A")], folder=tmp_path)
    path = tmp_path / "x_train.txt"
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(UserError, match="edited by hand") as fault:
        create_sampling("x", [Source(data / "A")], folder=tmp_path)
    assert "--overwrite" in str(fault.value)
    assert path.read_text().endswith("# mine\n")
    create_sampling("x", [Source(data / "A")], folder=tmp_path, overwrite=True)
    assert "# mine" not in path.read_text()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine_train.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_guides_list_is_read_and_its_percentages_draw_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        "# 70% 新任务数据",
        f"{data}/A/ep00",
        f"{data}/A/ep01",
        "",
        "# 30% 原始数据 (保持通用性)",
        f"{data}/B/ep00",
    ]
    found = read_list(written(tmp_path, "\n".join(lines)))
    assert [(entry.path.name, entry.weight, entry.line) for entry in found] == [
        ("ep00", None, 2), ("ep01", None, 3), ("ep00", None, 6),
    ]  # fmt: skip
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "70 %" in warnings[0]
    assert "# weight: 0.7" in warnings[0]


def test_weights_written_by_hand_are_sections(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        "# 任务A (40%)",
        "# weight: 0.4",
        f"{data}/A/ep00",
        "#weight: 0.4",
        f"{data}/A/ep01",
        "# weight:0.2  ",
        f"{data}/B/ep00",
    ]
    found = read_list(written(tmp_path, "\n".join(lines)))
    assert [(entry.weight, entry.section) for entry in found] == [(0.4, 1), (0.4, 2), (0.2, 3)]
    assert not caplog.records


def test_a_percentage_that_contradicts_its_weight_draws_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_list(written(tmp_path, f"# 70 % new\n# weight: 0.5\n{data}/A/ep00\n"))
    assert "70 %" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message", "place"),
    [
        (["# fine", "{data}/A/ep00", "", "data/nowhere/ep"], "points nowhere", ":4"),
        (["# weight: much", "{data}/A/ep00"], "not a positive number", ":1"),
        (["# weight: -1", "{data}/A/ep00"], "not a positive number", ":1"),
        (["# weight: nan", "{data}/A/ep00"], "not a positive number", ":1"),
        (["{data}/A/ep00", "# weight: 0.5", "{data}/A/ep01"], "no share", ":1"),
        (["# nothing", ""], "names no episode", "mine_train.txt"),
    ],
)
def test_bad_lists_name_the_line(data: Path, tmp_path: Path, lines: list[str], message: str, place: str) -> None:
    with pytest.raises(UserError, match=message) as fault:
        read_list(written(tmp_path, "\n".join(lines).format(data=data)))
    assert place in str(fault.value)


def test_unknown_names_list_the_known_ones(data: Path, tmp_path: Path) -> None:
    create_sampling("buildhouse", [Source(data / "A")], folder=tmp_path)
    with pytest.raises(UserError, match="no sampling named 'buildhose'") as fault:
        list_path("buildhose", "train", tmp_path)
    assert "buildhouse" in str(fault.value)
    with pytest.raises(UserError, match="does not exist"):
        read_list(tmp_path / "no_val.txt")


def test_names_choose_the_folders_of_the_guide() -> None:
    assert choose_sources(Args()) == ("finetune_task", [Source(resolve("data/dataset_finetune"))])
    assert choose_sources(Args("buildhouse")) == ("buildhouse", [Source(resolve("data/dataset_buildhouse"))])
    name, sources = choose_sources(Args(mix=("data/dataset_a=0.7", "b=0.3")))
    assert name == "mixed"
    assert sources == [Source(resolve("data/dataset_a"), 0.7), Source(resolve("data/dataset_b"), 0.3)]
    for bad in ("data/a", "data/a=", "=0.5", "a=-1", "a=inf"):
        with pytest.raises(UserError, match="FOLDER=SHARE"):
            choose_sources(Args(mix=(bad,)))
    with pytest.raises(UserError, match="not a path"):
        choose_sources(Args("data/dataset_x"))


def test_the_script(data: Path, tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "2_create_sampling.sh"), "--samplings_dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "mixed", "--mix", f"{data}/A=0.7", f"{data}/B=0.3"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"mixed_train.txt", "mixed_val.txt", "mixed_metadata.json"}
    done = subprocess.run([*command, "nothing_there"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "1_generate_dataset.sh" in done.stderr
    assert "Traceback" not in done.stderr
