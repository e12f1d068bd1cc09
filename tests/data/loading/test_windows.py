"""Windows and batches: functions of (seed, epoch, window), honest shares, the same for any number of workers."""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import find_episodes
from steve1.data.episodes.formats import native
from steve1.data.loading.batches import batches
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset, window_starts
from steve1.data.media import jpegs
from tests.data.makers import embeds, make_dataset, make_episode


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("windows"), [80, 95, 110, 140])


def windows(folder: Path, T: int = 32, **more: Any) -> WindowDataset:
    chosen: dict[str, Any] = {"min_btwn_goals": 15, "max_btwn_goals": 40, "p_uncond": 0.2, "seed": 5}
    return WindowDataset([ListEntry(path) for path in find_episodes(folder)], T, **chosen | more)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(np.array_equal(np.asarray(a[key]), np.asarray(b[key])) for key in a) and a.keys() == b.keys()


def test_starts_equal_the_published_ones(golden: Path) -> None:
    chunks = json.loads((golden / "relabel.json").read_text())["chunks"]
    for name, expected in chunks.items():
        n_frames, T = map(int, name.split("_"))
        assert [[start, start + T] for start in window_starts(n_frames, T)] == expected


@settings(deadline=None)
@given(n=st.integers(1, 3000), T=st.integers(16, 700), first=st.sampled_from([0, 15]))
def test_starts_cover_the_episode(n: int, T: int, first: int) -> None:
    starts = window_starts(n, T, first)
    if n < T + first:
        assert starts == []
        return
    covered = np.zeros(n, bool)
    for start in starts:
        assert first <= start <= n - T
        covered[start : start + T] = True
    assert covered[first:].all()
    assert len(starts) == -(-(n - first) // T)


def test_a_window_is_what_the_episode_holds(dataset: Path) -> None:
    data = windows(dataset)
    for index in range(len(data)):
        window = data.window(0, index)
        assert window["frames"].shape == (32, 128, 128, 3)
        assert window["first"].tolist() == [True] + [False] * 31
        assert window["goals"].dtype == np.float32
        frames = window["start"] + np.arange(32)
        if (window["goal_frame"] == -1).all():
            assert not window["goals"].any()
        else:
            assert (window["goal_frame"] >= frames).all()
            # The makers put each row's number into its first column.
            assert window["goals"][:, 0].tolist() == window["goal_frame"].tolist()


def test_the_same_again_and_other_in_other_epochs_and_seeds(dataset: Path) -> None:
    a, b = windows(dataset), windows(dataset)
    assert same(a.window(3, 2), b.window(3, 2))
    assert (a.epoch_order(3) == b.epoch_order(3)).all()
    goals = {tuple(a.window(epoch, 2)["goal_frame"]) for epoch in range(6)}
    assert len(goals) > 2
    orders = {tuple(windows(dataset, seed=seed).epoch_order(0)) for seed in range(4)}
    assert len(orders) > 2
    for epoch in range(3):
        assert sorted(a.epoch_order(epoch)) == list(range(len(a)))


def test_p_uncond_is_the_share_of_windows_without_goal(dataset: Path) -> None:
    data = windows(dataset, p_uncond=0.25)
    dropped = [
        (data.window(epoch, index)["goal_frame"] == -1).all() for epoch in range(25) for index in range(0, len(data), 2)
    ]
    assert abs(np.mean(dropped) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(dropped))
    assert all((windows(dataset, p_uncond=1.0).window(0, i)["goals"] == 0).all() for i in range(3))


def test_validation_never_changes(dataset: Path) -> None:
    data = windows(dataset, fixed=True, p_uncond=0.9, jitter=True)
    for index in range(len(data)):
        assert same(data.window(0, index), data.window(7, index))
        assert (data.window(0, index)["goal_frame"] >= 0).all()
    assert data.epoch_order(0).tolist() == data.epoch_order(9).tolist() == list(range(len(data)))


def test_jitter_moves_windows_inside_their_episode(dataset: Path) -> None:
    data = windows(dataset, jitter=True)
    seen: dict[int, set[int]] = {}
    for epoch in range(30):
        for index in range(len(data)):
            number, start = data.start_of(epoch, index)
            assert 15 <= start <= data._lengths[number] - 32
            seen.setdefault(index, set()).add(start)
    assert all(len(starts) > 5 for starts in seen.values())
    assert data.start_of(4, 1) == windows(dataset, jitter=True).start_of(4, 1)


def test_first_frame_zero_reaches_the_very_first_frames(dataset: Path) -> None:
    data = windows(dataset, first_frame=0, p_uncond=0.0)
    window = data.window(0, 0)
    assert window["start"] == 0
    assert np.isfinite(window["goals"]).all()
    assert (window["goal_frame"] >= 15).all()


def test_fixed_goal_serves_every_frame_and_needs_no_embeddings(tmp_path: Path) -> None:
    make_episode(tmp_path / "ep", 60, goals=False)
    goal = np.arange(8, dtype=np.float32)
    data = WindowDataset([ListEntry(tmp_path / "ep")], 32, fixed_goal=goal)
    window = data.window(0, 0)
    assert (window["goals"] == goal).all()
    assert (window["goal_frame"] == -1).all()


def weighted(folder: Path, weights: list[tuple[float, list[int]]], **more: Any) -> WindowDataset:
    paths = find_episodes(folder)
    entries = [
        ListEntry(paths[number], weight, 0, section)
        for section, (weight, numbers) in enumerate(weights, 1)
        for number in numbers
    ]
    return WindowDataset(entries, 32, min_btwn_goals=15, max_btwn_goals=40, p_uncond=0.0, **more)


def test_weights_are_honoured_exactly_in_expectation(dataset: Path) -> None:
    data = weighted(dataset, [(0.4, [0]), (0.4, [1, 2]), (0.2, [3])], seed=1)
    assert data.shares == pytest.approx({1: 0.4, 2: 0.4, 3: 0.2})
    counts = np.zeros(4)
    epochs = 800
    for epoch in range(epochs):
        order = data.epoch_order(epoch)
        assert len(order) == len(data)
        sections = np.bincount([data._sections[i] for i in order], minlength=4)
        expected = np.array([0, 0.4, 0.4, 0.2]) * len(data)
        assert (np.abs(sections - expected) < 1).all()
        counts += sections
    shares = counts[1:] / counts.sum()
    # Rounding up or down is a coin per epoch: its spread over 800 epochs is below 0.4 % here.
    assert np.abs(shares - [0.4, 0.4, 0.2]).max() < 0.006


def test_weights_that_do_not_sum_to_one_are_shares(dataset: Path) -> None:
    assert weighted(dataset, [(7, [0]), (3, [1])]).shares == pytest.approx({1: 0.7, 2: 0.3})


def test_no_window_repeats_before_its_section_is_used_up(dataset: Path) -> None:
    data = weighted(dataset, [(0.95, [0]), (0.05, [1, 2, 3])])
    for epoch in range(5):
        order = data.epoch_order(epoch)
        counts = np.bincount(order, minlength=len(data))
        for section in (1, 2):
            of_section = counts[[data._sections[i] == section for i in range(len(data))]]
            assert of_section.max() - of_section.min() <= 1


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_are_the_same_for_any_number_of_workers(dataset: Path, workers: int) -> None:
    data = windows(dataset, jitter=True)
    alone = list(itertools.islice(batches(data, 3), 9))
    assert alone[0]["frames"].shape == (3, 32, 128, 128, 3)
    assert {k: v.dtype for k, v in alone[0].items() if isinstance(v, torch.Tensor)} == {
        "frames": torch.uint8, "goals": torch.float32, "first": torch.bool, "buttons": torch.int64,
        "camera": torch.int64, "goal_frame": torch.int64,
    }  # fmt: skip
    assert alone[-1]["epoch"][-1] > alone[0]["epoch"][0]
    for a, b in zip(alone, batches(data, 3, workers=workers)):
        assert same(a, b)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_rest_and_reads_nothing_else(
    dataset: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = windows(dataset)
    whole = list(itertools.islice(batches(data, 2), 8))
    reads = []
    original = jpegs.read_pack
    monkeypatch.setattr(native, "read_pack", lambda *a: (reads.append(a), original(*a)))
    rest = batches(data, 2, workers=workers, start_batch=5)
    assert same(next(rest), whole[5])
    if workers == 0:
        assert len(reads) == 2
    assert same(next(rest), whole[6])


def test_ranks_share_an_epoch_without_overlap(dataset: Path) -> None:
    data = windows(dataset)
    alone = [list(zip(b["epoch"], b["window"])) for b in itertools.islice(batches(data, 4), 6)]
    ranks = [
        [list(zip(b["epoch"], b["window"])) for b in itertools.islice(batches(data, 2, rank=r, world=2), 6)]
        for r in (0, 1)
    ]
    assert [a + b for a, b in zip(*ranks)] == alone
    places = list(itertools.chain.from_iterable(alone))
    assert len(set(places)) == len(places)


def test_a_batch_larger_than_the_data_is_refused_at_once(dataset: Path) -> None:
    data = windows(dataset)
    with pytest.raises(UserError, match="more windows than") as fault:
        batches(data, len(data) + 1)
    assert "BATCH_SIZE" in str(fault.value)
    with pytest.raises(UserError, match="more windows than"):
        batches(data, len(data), world=2)
    assert next(batches(data, len(data)))["frames"].shape[0] == len(data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"T": 15}, "T is too short"),
        ({"min_btwn_goals": 40, "max_btwn_goals": 40}, "range of gaps"),
        ({"min_btwn_goals": 50, "max_btwn_goals": 40}, "range of gaps"),
        ({"p_uncond": 1.5}, "probability"),
        ({"first_frame": 0, "min_btwn_goals": 5}, "before frame 15"),
        ({"goal_switch": "legacy", "min_btwn_goals": 14}, "before frame 15"),
    ],
)
def test_bad_settings_are_refused(dataset: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        windows(dataset, **settings)


def test_short_episodes_are_skipped_by_name_and_an_error_if_all_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_dataset(tmp_path, [46, 47, 90])
    data = windows(tmp_path, T=32)
    assert [p.name for p in data.paths] == ["ep01", "ep02"]
    assert "skipped ep00" in caplog.text
    assert "46 frames" in caplog.text
    with pytest.raises(UserError, match="long enough") as fault:
        windows(tmp_path, T=80)
    assert "T=64" in str(fault.value)  # the longest has 75 frames for a window
    with pytest.raises(UserError, match="list is empty"):
        WindowDataset([], 32)


def test_a_share_that_no_long_episode_could_have_is_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path, [40, 90])
    with pytest.raises(UserError, match="No episode below the weight"):
        weighted(tmp_path, [(0.5, [0]), (0.5, [1])])


def test_bad_goals_are_found_before_training_begins(tmp_path: Path) -> None:
    make_dataset(tmp_path, [90, 90])
    np.save(tmp_path / "ep01" / "embeds_attn.npy", embeds(90, size=16))
    with pytest.raises(UserError, match="different sizes"):
        windows(tmp_path)
    rows = embeds(90)
    rows[50] = np.nan
    np.save(tmp_path / "ep01" / "embeds_attn.npy", rows)
    with pytest.raises(UserError, match="not finite") as fault:
        windows(tmp_path)
    assert "row 50" in str(fault.value)
    (tmp_path / "ep01" / "embeds_attn.npy").unlink()
    with pytest.raises(UserError, match="no goal embeddings"):
        windows(tmp_path)


def test_a_worker_reports_a_broken_frame_as_ours_and_ends(tmp_path: Path) -> None:
    others = set(multiprocessing.active_children())
    path = make_episode(tmp_path / "ep", 60)
    offsets = np.load(path / "frames_index.npy")
    data = bytearray((path / "frames.jpgs").read_bytes())
    data[offsets[40] : offsets[41]] = bytes(offsets[41] - offsets[40])
    (path / "frames.jpgs").write_bytes(bytes(data))
    with pytest.raises(UserError, match="does not decode") as fault:
        next(batches(windows(tmp_path), 1, workers=1))
    assert "frame 40" in str(fault.value)
    with pytest.raises(UserError) as alone:
        next(batches(windows(tmp_path), 1))
    assert str(fault.value) == str(alone.value)
    assert set(multiprocessing.active_children()) <= others


def test_closing_ends_the_workers_at_once(dataset: Path) -> None:
    others = set(multiprocessing.active_children())
    source = batches(windows(dataset), 2, workers=3)
    next(source)
    assert len(set(multiprocessing.active_children()) - others) == 3
    source.close()
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.parametrize("first", ["Queue", "Event"])
def test_workers_for_which_there_are_no_files_say_so(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    def fails(*args: Any, **more: Any) -> Any:
        raise OSError("Too many open files")

    monkeypatch.setattr(torch.multiprocessing, first, fails)
    gc.collect()  # what tests before this one left
    unseen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unseen.append)
    with pytest.raises(OSError, match="Too many"):
        next(batches(windows(dataset), 2, workers=2))
    gc.collect()
    assert unseen == []


def test_a_worker_that_does_not_start_leaves_no_other(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others, begin, left = set(multiprocessing.active_children()), BaseProcess.start, [1, 0]

    def fails_at_the_second(process: BaseProcess) -> None:
        if not left.pop(0):
            raise OSError("Resource temporarily unavailable")
        begin(process)

    monkeypatch.setattr(BaseProcess, "start", fails_at_the_second)
    gc.collect()  # what tests before this one left
    unseen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unseen.append)
    with pytest.raises(OSError, match="Resource"):
        next(batches(windows(dataset), 2, workers=2))
    assert set(multiprocessing.active_children()) <= others
    gc.collect()
    assert unseen == []


@pytest.mark.e2e
def test_python_exits_although_nobody_closed_the_batches(dataset: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from steve1.data.episodes.episode import find_episodes\n"
        "from steve1.data.loading.lists import ListEntry\n"
        "from steve1.data.loading.batches import batches\n"
        "from steve1.data.loading.windows import WindowDataset\n"
        "entries = [ListEntry(path) for path in find_episodes(Path(sys.argv[1]))]\n"
        "source = batches(WindowDataset(entries, 32, min_btwn_goals=15, max_btwn_goals=40), 2, workers=2)\n"
        "next(source)\n"
        "raise ValueError('a fault elsewhere')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(dataset)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: a fault elsewhere"


def test_too_little_shared_memory_falls_back_with_a_reason(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = windows(dataset)
    expected = next(batches(data, 2))
    monkeypatch.setattr(
        "steve1.data.loading.batches.shutil.disk_usage", lambda _: type("Usage", (), {"free": 64 << 20})
    )
    assert same(next(batches(data, 2, workers=1)), expected)
    assert "--shm-size" not in caplog.text
    found = next(batches(data, 10, workers=4))
    assert "--shm-size" in caplog.text
    assert found["frames"].shape[0] == 10


def test_memory_is_used_again_only_when_nobody_holds_it(dataset: Path) -> None:
    data = windows(dataset)
    source = batches(data, 2)
    held = [next(source) for _ in range(7)]
    views = [batch["frames"][0, 3:5].numpy() for batch in held]
    copies = [view.copy() for view in views]
    del held
    for _ in range(6):
        next(source)
    assert all((view == copy).all() for view, copy in zip(views, copies))
    addresses = {next(source)["frames"].data_ptr() for _ in range(12)}
    assert len(addresses) <= 5
