"""Sampling lists: made ones are disjoint and repeatable, written ones are read as people mean them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.commands.data.create_sampling import Args, choose_sources, next_command
from steve1.core import paths
from steve1.core.errors import UserError
from steve1.core.files import read_json, sha256_file, write_json
from steve1.core.paths import ROOT, resolve
from steve1.data.episodes.episode import Episode, find_episodes, write_goals
from steve1.data.loading import sampling
from steve1.data.loading.lists import read_list, sampling_command
from steve1.data.loading.sampling import SamplingSettings, Source, create_sampling
from steve1.data.loading.windows import WindowDataset
from tests.data.makers import embeds, make_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampling")
    make_dataset(folder / "A", [20] * 11, goals=False)
    make_dataset(folder / "B", [20, 30, 40], goals=False)
    make_dataset(folder / "one", [20], goals=False)
    return folder


def create(name: str, sources: list[Source], folder: Path, **settings: Any) -> dict[str, Any]:
    """`create_sampling` with settings as keywords."""
    return create_sampling(name, sources, SamplingSettings(**settings), folder)


def test_lists_are_disjoint_seeded_sorted_and_told_in_the_metadata(data: Path, tmp_path: Path) -> None:
    found = create("x", [Source(data / "A")], val_fraction=0.2, seed=3, folder=tmp_path)
    train, val = (read_list(tmp_path / f"x_{part}.txt") for part in ("train", "val"))
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
    create("x", [Source(data / "A")], val_fraction=0.2, seed=3, folder=tmp_path)
    assert (tmp_path / "x_train.txt").read_text() == before
    splits = set()
    for seed in range(5):
        create("x", [Source(data / "A")], val_fraction=0.2, seed=seed, folder=tmp_path)
        splits.add((tmp_path / "x_val.txt").read_text())
    assert len(splits) > 2


def test_a_mix_has_its_shares_and_a_validation_part_of_each(data: Path, tmp_path: Path) -> None:
    create("mixed", [Source(data / "A", 0.7), Source(data / "B", 0.3)], folder=tmp_path)
    train = read_list(tmp_path / "mixed_train.txt")
    assert {(entry.path.parent.name, entry.weight, entry.section) for entry in train} == {("A", 0.7, 1), ("B", 0.3, 2)}
    assert {entry.path.parent.name for entry in read_list(tmp_path / "mixed_val.txt")} == {"A", "B"}


def test_labels_of_videos_have_a_share_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path / "D", [20, 20, 20, 200, 200, 200], goals=False)
    for path in sorted(folder.iterdir())[3:]:
        write_json(path / "metadata.json", read_json(path / "metadata.json") | {"source_kind": "video"})
    opened: list[Path] = []

    def opener(path: Path) -> Episode:
        opened.append(path)
        return Episode(path)

    monkeypatch.setattr(sampling, "Episode", opener)
    create("x", [Source(folder)], folder=tmp_path)
    assert sorted(opened) == sorted(folder.iterdir()), "each episode is opened once"
    text = (tmp_path / "x_train.txt").read_text()
    assert text.count("# weight: 0.5") == 2
    assert "labels of videos" in text
    entries = read_list(tmp_path / "x_train.txt")
    kinds = {(entry.section, Episode(entry.path).metadata.get("source_kind")) for entry in entries}
    assert kinds == {(1, None), (2, "video")}
    found = create("y", [Source(folder, 1.0)], folder=tmp_path)
    assert len(found["sources"]) == 1, "a share that is given is left alone"


def test_small_sources_do_not_give_a_quarter_of_everything_to_validation(tmp_path: Path) -> None:
    sources = [Source(make_dataset(tmp_path / f"S{n}", [20] * 4, goals=False), 1.0) for n in range(9)]
    found = create("many", sources, folder=tmp_path)
    assert (found["train_episodes"], found["val_episodes"]) == (29, 7)  # not 27 and 9
    assert all(row["train_episodes"] >= 3 for row in found["sources"])
    create("one", sources[:1], folder=tmp_path)
    assert len(read_list(tmp_path / "one_val.txt")) == 1
    # More, where it is asked for.
    assert create("more", sources, val_fraction=0.5, folder=tmp_path)["val_episodes"] == 18


def test_validation_needs_no_long_episode_of_each_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights are shares of training; validation takes every window once."""
    make_dataset(tmp_path / "A", [60, 60], size=8)
    make_dataset(tmp_path / "B", [60, 20], size=8)
    lines = ["# weight: 0.5", tmp_path / "A" / "ep00", "# weight: 0.5", tmp_path / "B" / "ep01"]
    (tmp_path / "val.txt").write_text("\n".join(map(str, lines)))
    entries = read_list(tmp_path / "val.txt")
    assert len(WindowDataset(entries, 32, fixed=True)) == 2
    assert "skipped ep01" in caplog.text
    with pytest.raises(UserError, match=r"below the weight 0\.5"):
        WindowDataset(entries, 32)


def test_budgets_take_whole_episodes_until_they_are_reached(data: Path, tmp_path: Path) -> None:
    found = create("x", [Source(data / "A")], train_frames=90, val_frames=30, folder=tmp_path)
    assert (found["train_frames"], found["val_frames"]) == (100, 40)
    assert found["budget"] == {"train_frames": 90, "val_frames": 30}
    assert found["val_fraction"] is None
    assert found["sources"][0]["frames"] == 220
    mixed = create("m", [Source(data / "A", 0.75), Source(data / "B", 0.25)], train_frames=80, folder=tmp_path)
    assert [row["train_frames"] for row in mixed["sources"]] == [60, sum_until(mixed["sources"][1], 20)]
    assert [row["train_share"] for row in mixed["sources"]] == [0.75, 0.25]
    more = create("y", [Source(data / "A")], train_frames=10_000, folder=tmp_path)
    assert more["train_frames"] == 200
    # A smaller budget takes the first of the same: nothing moves between training and validation.
    both = [{e.path for e in read_list(tmp_path / f"{name}_train.txt")} for name in ("x", "y")]
    assert len(both[0]) == 5
    with pytest.raises(UserError, match="positive"):
        create("z", [Source(data / "A")], train_frames=-1, folder=tmp_path)


def sum_until(row: dict[str, int], budget: int) -> int:
    assert budget <= row["train_frames"] < budget + 40
    return row["train_frames"]


def test_validation_on_a_fixed_list(data: Path, tmp_path: Path) -> None:
    fixed = written(tmp_path, f"# always these\n{data}/A/ep03\n\n{data}/B/ep02  \n")
    found = create("x", [Source(data / "A")], val_list=str(fixed), folder=tmp_path)
    assert [entry.path.name for entry in read_list(tmp_path / "x_val.txt")] == ["ep03", "ep02"]
    train = {entry.path.name for entry in read_list(tmp_path / "x_train.txt")}
    assert train == {f"ep{n:02d}" for n in range(11)} - {"ep03"}
    assert (found["val_episodes"], found["val_frames"], found["train_episodes"]) == (2, 60, 10)
    assert found["val_list"]["path"].endswith("mine_train.txt")
    assert len(found["val_list"]["sha256"]) == 64
    one = create("one", [Source(data / "one")], val_list=str(fixed), folder=tmp_path)
    assert (one["train_episodes"], one["val_episodes"]) == (1, 2)
    everything = written(tmp_path, f"{data}/one/ep00\n")
    with pytest.raises(UserError, match="there is none left"):
        create("none", [Source(data / "one")], val_list=str(everything), folder=tmp_path)
    with pytest.raises(UserError, match="cannot be used"):
        create("x", [Source(data / "A")], val_list=str(everything), val_frames=5, folder=tmp_path)


def test_a_mix_is_honoured_by_frames_exactly_in_expectation(tmp_path: Path) -> None:
    """Sources of other sizes and episode lengths: what is drawn has the shares that were asked for, frame by frame."""
    shares = {"A": 0.4, "B": 0.4, "C": 0.2}
    lengths = {"A": [120] * 3, "B": [60, 200, 90], "C": [400, 70]}
    sources = [Source(make_dataset(tmp_path / name, lengths[name], size=8), share) for name, share in shares.items()]
    create("mix", sources, folder=tmp_path)
    dataset = WindowDataset(read_list(tmp_path / "mix_train.txt"), 32, max_btwn_goals=40)
    epochs, drawn = 400, dict.fromkeys(shares, 0)
    for epoch in range(epochs):
        for window in dataset.epoch_order(epoch):
            number, _ = dataset.start_of(epoch, int(window))
            drawn[dataset.paths[number].parent.name] += dataset.T
    total = sum(drawn.values())
    for name, share in shares.items():
        # Rounding up or down at random, with one offset for all: the mean over epochs has an error below 1 / sqrt(epochs) windows.
        assert abs(drawn[name] / total - share) < 3 / len(dataset) / epochs**0.5, drawn


def test_what_cannot_be_split_or_shared_is_refused(data: Path, tmp_path: Path) -> None:
    for sources, message in [
        ([Source(data / "one")], "at least two episodes"),
        ([Source(data / "nowhere")], "does not exist"),
        ([Source(data / "A", 0.7), Source(data / "B")], "others have none"),
        ([Source(data / "A", 0.7), Source(data / "A", 0.3)], "twice"),
        ([], "at least one"),
    ]:
        with pytest.raises(UserError, match=message):
            create("x", sources, folder=tmp_path)
    with pytest.raises(UserError, match="between 0 and 1"):
        create("x", [Source(data / "A")], val_fraction=1.0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lists_edited_by_hand_are_not_replaced(data: Path, tmp_path: Path) -> None:
    create("x", [Source(data / "A")], folder=tmp_path)
    path = tmp_path / "x_train.txt"
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(UserError, match="edited by hand") as fault:
        create("x", [Source(data / "A")], folder=tmp_path)
    assert "--overwrite" in str(fault.value)
    assert path.read_text().endswith("# mine\n")
    create("x", [Source(data / "A")], folder=tmp_path, overwrite=True)
    assert "# mine" not in path.read_text()


def test_a_run_that_was_killed_between_its_files_is_continued_by_the_same_command(data: Path, tmp_path: Path) -> None:
    create("x", [Source(data / "A")], folder=tmp_path)
    create("y", [Source(data / "A")], seed=1, folder=tmp_path)
    (tmp_path / "y_train.txt").write_bytes((tmp_path / "x_train.txt").read_bytes().replace(b"# x:", b"# y:"))
    create("y", [Source(data / "A")], folder=tmp_path)
    (tmp_path / "y_metadata.json").unlink()
    create("y", [Source(data / "A")], folder=tmp_path)
    (tmp_path / "y_metadata.json").unlink()
    with pytest.raises(UserError, match="edited by hand"):
        create("y", [Source(data / "A")], seed=1, folder=tmp_path)


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


def test_full_width_signs_are_read(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_list(
        written(tmp_path, f"# weight\uff1a0.7\n{data}/A/ep00\n# 30\uff05\n# weight\uff1a0.3\n{data}/B/ep00\n")
    )
    assert [entry.weight for entry in found] == [0.7, 0.3]
    assert not caplog.records


def test_a_percentage_that_contradicts_its_weight_draws_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_list(written(tmp_path, f"# 70 % new\n# weight: 0.5\n{data}/A/ep00\n"))
    assert "70 %" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message", "place"),
    [
        (["# fine", "{data}/A/ep00", "", "data/nowhere/ep"], "does not lead to an episode", ":4"),
        (["# weight: much", "{data}/A/ep00"], "not a positive number", ":1"),
        (["# weight: -1", "{data}/A/ep00"], "not a positive number", ":1"),
        (["# weight: nan", "{data}/A/ep00"], "not a positive number", ":1"),
        (["{data}/A/ep00", "# weight: 0.5", "{data}/A/ep01"], "no share", ":1"),
        (["# nothing", ""], "list is empty", "mine_train.txt"),
        (["# weight = 0.7", "{data}/A/ep00"], "begins like a weight", ":1"),
        (["{data}/A/ep00", "# weights: 0.7", "{data}/A/ep01"], "begins like a weight", ":2"),
        (["#权重：0.7", "{data}/A/ep00"], "begins like a weight", ":1"),
        (["~nosuchuser/ep"], "does not lead to an episode", ":1"),
        (["x" * 5000], "longer than", ":1"),
        (['"{data}/A/ep00"'], "quotation marks", ":1"),
        (["“{data}/A/ep00”"], "quotation marks", ":1"),
        (['"{data}/A/ep00",0.7'], "one folder a line", ":1"),
        (["{data}/A/ep00;{data}/A/ep01"], "one folder a line", ":1"),
        (["{data}/A/ep00，0.7"], "one folder a line", ":1"),
        (["{data}/A/ep００"], "half width", ":1"),
        (["{data}\\A\\ep00"], "in place of", ":1"),
    ],
)
def test_bad_lists_name_the_line(data: Path, tmp_path: Path, lines: list[str], message: str, place: str) -> None:
    with pytest.raises(UserError, match=message) as fault:
        read_list(written(tmp_path, "\n".join(lines).format(data=data)))
    assert place in str(fault.value)


@pytest.mark.parametrize("damage", ["gbk", "[]", "{", '{"sha256": 3}'])
def test_lists_and_metadata_in_any_form_are_one_message(damage: str, data: Path, tmp_path: Path) -> None:
    create("x", [Source(data / "A")], folder=tmp_path)
    if damage == "gbk":
        (tmp_path / "x_train.txt").write_bytes(f"# 我的\n{data}/A/ep00\n".encode("gbk"))
        with pytest.raises(UserError, match="not UTF-8 text") as fault:
            read_list(tmp_path / "x_train.txt")
        assert "x_train.txt:1" in str(fault.value)
        assert "我的" in str(fault.value)
    else:
        (tmp_path / "x_metadata.json").write_text(damage)
    with pytest.raises(UserError, match=r"edited by hand|wrong form|not valid JSON"):
        create("x", [Source(data / "A")], folder=tmp_path)
    create("x", [Source(data / "A")], folder=tmp_path, overwrite=True)
    assert len(read_list(tmp_path / "x_train.txt")) == 10


def test_names_that_editors_and_recorders_make_come_back(data: Path, tmp_path: Path) -> None:
    """A blank at the end, what Unicode counts as a line's end, a mark at the beginning of the file, Windows' line ends."""
    names = ["trail ", " lead", "sep\u2028arated", "tab\tbed", "a, b", "砍树"]
    for name in names:
        shutil.copytree(data / "A" / "ep00", tmp_path / "set" / name)
    create("x", [Source(tmp_path / "set")], folder=tmp_path)
    found = [entry.path.name for part in ("train", "val") for entry in read_list(tmp_path / f"x_{part}.txt")]
    assert sorted(found) == sorted(names)
    text = (tmp_path / "x_train.txt").read_text(encoding="utf-8").replace("\n", "\r\n")
    (tmp_path / "y.txt").write_bytes(text.encode("utf-8-sig"))
    assert [entry.path for entry in read_list(tmp_path / "y.txt")] == [
        e.path for e in read_list(tmp_path / "x_train.txt")
    ]


@pytest.mark.parametrize("name", ["new\nline", "re\rturn", os.fsdecode("砍树".encode("gbk"))])
def test_names_that_no_list_can_hold_are_refused(name: str, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "A" / "ep00", tmp_path / "set" / name)
    shutil.copytree(data / "A" / "ep01", tmp_path / "set" / "other")
    with pytest.raises(UserError, match="cannot stand in a sampling list"):
        create("x", [Source(tmp_path / "set")], folder=tmp_path)
    assert not list(tmp_path.glob("x_*"))


def test_one_long_recording_is_split_by_time(tmp_path: Path) -> None:
    make_dataset(tmp_path / "long", [600], size=8)
    found = create("x", [Source(tmp_path / "long")], by_time=True, val_fraction=0.2, folder=tmp_path)
    assert (found["train_frames"], found["val_frames"]) == (280, 120)
    (train,), (val,) = (read_list(tmp_path / f"x_{part}.txt") for part in ("train", "val"))
    assert train.path.name == "ep00_000000_000280"
    assert val.path.name == "ep00_000480_000600"
    whole = Episode(tmp_path / "long" / "ep00")
    assert Episode(val.path).actions() == whole.actions(480, 600)
    assert (
        np.nanmax(Episode(train.path).goals[:, 0]) == 279
    )  # its own frame's number: nothing of the gap, nothing of validation
    before = val.path.stat().st_mtime_ns
    create("x", [Source(tmp_path / "long")], by_time=True, val_fraction=0.2, folder=tmp_path)
    assert val.path.stat().st_mtime_ns == before
    (tmp_path / "long").rename(tmp_path / "first")
    make_dataset(tmp_path / "long", [600], goals=False)
    with pytest.raises(UserError, match="another episode"):
        create("x", [Source(tmp_path / "long")], by_time=True, val_fraction=0.2, folder=tmp_path)
    make_dataset(tmp_path / "short", [100], goals=False)
    for settings, fault in (
        ({}, "too short"),
        ({"val_list": "x"}, "cannot be used with"),
        ({"train_frames": 5}, "cannot be used with"),
    ):
        with pytest.raises(UserError, match=fault):
            create("s", [Source(tmp_path / "short")], by_time=True, folder=tmp_path, **settings)


def test_parts_of_an_episode_whose_goals_or_actions_have_changed_are_refused(tmp_path: Path) -> None:
    (whole,) = find_episodes(make_dataset(tmp_path / "long", [300], size=8))

    def split() -> None:
        create("x", [Source(tmp_path / "long")], by_time=True, val_fraction=0.2, folder=tmp_path)

    def note(**facts: Any) -> None:
        for path in [whole, *find_episodes(tmp_path / "long_by_time")]:
            write_json(path / "metadata.json", read_json(path / "metadata.json") | facts)

    split()
    split()
    write_goals(whole, embeds(300, 8, seed=1))
    with pytest.raises(UserError, match="another episode, or before its goals"):
        split()
    write_goals(whole, embeds(300, 8))
    split()
    actions = (whole / "actions.jsonl").read_text()
    (whole / "actions.jsonl").write_text(actions.replace('"attack":1', '"attack":0', 1))
    with pytest.raises(UserError, match="another episode"):
        split()
    note(made_from={"episode": "one of which the whole one is a copy", "content": "0" * 64})
    split()  # parts that an earlier version cut, which have the mark of the whole one
    note(made_from=None, mineclip={"sha256": "a" * 64})
    split()
    note_of = whole / "metadata.json"
    write_json(note_of, read_json(note_of) | {"mineclip": {"sha256": "b" * 64}})
    with pytest.raises(UserError, match="before its goals were made"):
        split()


def test_parts_that_were_embedded_alone_are_taken_again(tmp_path: Path) -> None:
    """As the command advises where the episodes have no goals yet."""
    (whole,) = find_episodes(make_dataset(tmp_path / "long", [400], goals=False))

    def split() -> dict[str, Any]:
        return create("x", [Source(tmp_path / "long")], by_time=True, folder=tmp_path)

    assert len(split()["sources"][0]["without_goals"]) == 2
    parts = find_episodes(tmp_path / "long_by_time")
    for path in parts:
        write_goals(path, embeds(len(Episode(path)), 8))
    assert split()["sources"][0]["without_goals"] == []
    assert find_episodes(tmp_path / "long_by_time") == parts
    write_goals(whole, embeds(400, 8, seed=1))
    with pytest.raises(UserError, match="another episode, or before its goals"):
        split()


def test_a_replay_pack_is_not_split_by_time(tmp_path: Path) -> None:
    (tmp_path / "old.replay.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="not split by time"):
        create("x", [Source(tmp_path / "old.replay.safetensors")], by_time=True, folder=tmp_path)


def test_a_list_that_does_not_exist_is_refused(tmp_path: Path) -> None:
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


def test_the_next_command_trains_what_these_episodes_fit(data: Path) -> None:
    episode = next((data / "A").iterdir())
    made = {"sources": [{"longest_episode": 400}]}
    plain = "SAMPLING_NAME='my #1' OUT_WEIGHTS='data/weights/steve1/my #1.weights' bash 3_train_finetune_template.sh"
    assert next_command("my #1", made, episode) == plain
    for longest, T in ((335, ""), (334, "T=256 "), (150, "T=128 "), (50, "")):
        command = next_command("x", {"sources": [{"longest_episode": longest}]}, episode)
        assert command.endswith(f"x.weights {T}bash 3_train_finetune_template.sh")
    metadata = read_json(episode / "metadata.json")
    mini = sha256_file(ROOT / "data/mini/mini_mineclip.safetensors")
    write_json(episode / "metadata.json", metadata | {"mineclip": {"sha256": mini}})
    assert "IN_MODEL=data/mini/mini.model IN_WEIGHTS=data/mini/mini.weights bash" in next_command("x", made, episode)


def test_a_missing_list_names_a_command_that_can_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampling_command("finetune_task") == "bash 2_create_sampling.sh"
    assert sampling_command("a b") == "bash 2_create_sampling.sh 'a b'"
    assert sampling_command("finetune_house").endswith(" finetune_house --dataset_dir data/dataset_house")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "CHECKOUT", None)
    for name in ("mixed", "multi_task"):
        command = f"bash 2_create_sampling.sh {name} --mix "
        assert sampling_command(name) == f"{command}data/dataset_A=0.5 data/dataset_B=0.5"
    for name in ("old", "new ones", "short"):
        (tmp_path / "data" / f"dataset_{name}").mkdir(parents=True)
    assert sampling_command("mixed").count("=0.33") == 3
    assert f"'{tmp_path}/data/dataset_new ones=0.33'" in sampling_command("mixed")
    with pytest.raises(UserError, match="does not exist") as fault:
        read_list("data/samplings/mixed_train.txt")
    assert " mixed --mix " in str(fault.value)


def test_the_script(data: Path, tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "2_create_sampling.sh"), "--samplings_dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "mixed", "--mix", f"{data}/A=0.7", f"{data}/B=0.3"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"mixed_train.txt", "mixed_val.txt", "mixed_metadata.json"}
    assert "70 % of training" in done.stdout
    environment = {**os.environ, "VAL_LIST": str(tmp_path / "mixed_val.txt"), "TRAIN_FRAMES": "40"}
    more = subprocess.run(
        [*command, "again", "--dataset_dir", f"{data}/A"], capture_output=True, text=True, env=environment
    )
    assert more.returncode == 0, more.stderr
    assert (tmp_path / "again_val.txt").read_text().splitlines()[2:] == [
        line for line in (tmp_path / "mixed_val.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    done = subprocess.run([*command, "nothing_there"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "1_generate_dataset.sh" in done.stderr
    assert "Traceback" not in done.stderr
