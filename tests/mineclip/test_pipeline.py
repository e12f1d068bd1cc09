"""Embedding many episodes: batches over their ends, reading ahead, and going on in the middle of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.commands.data.embed import Args, main
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import NativeFormat
from steve1.data.recordings.shards import Shard, alone_in
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.pipeline import PARTS, Part, ahead, embed_episodes
from steve1.mineclip.weights import save_mineclip
from tests.data.episodes.test_episode import guide_episode
from tests.mineclip.test_embed_command import write_episode

LIKE = {"sha256": "x", "bf16": False}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for number, length in enumerate((20, 7, 33, 70)):
        write_episode(tmp_path / "dataset_x" / f"e{number}", length, seed=number)
    return tmp_path / "dataset_x"


@pytest.fixture
def weights(tmp_path: Path, small: MineCLIP) -> Path:
    save_mineclip(small, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def episodes(dataset: Path) -> list[Episode]:
    return [Episode(path) for path in sorted(dataset.iterdir()) if path.name.startswith("e")]


def expected(small: MineCLIP, dataset: Path) -> list[np.ndarray]:
    return [small.embed_episode(episode.mineclip_frames()) for episode in episodes(dataset)]


def same(rows: Any, wanted: np.ndarray) -> bool:
    return np.array_equal(np.isnan(rows), np.isnan(wanted)) and np.nanmax(np.abs(rows - wanted), initial=0) < 1e-5


def test_batches_run_over_the_ends_of_episodes(dataset: Path, small: MineCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = expected(small, dataset)
    sizes: list[int] = []
    tower = small.image_features

    def counted(frames: torch.Tensor) -> torch.Tensor:
        sizes.append(len(frames))
        return tower(frames)

    monkeypatch.setattr(small, "image_features", counted)
    rows = [np.array(part.rows) for part in embed_episodes(episodes(dataset), small, batch=32, like=LIKE)]
    assert sizes == [32, 32, 32, 32, 2]  # 130 frames of four episodes: only the very last batch is not full
    assert all(same(*pair) for pair in zip(rows, wanted))
    assert not (dataset / PARTS).exists()


def test_an_episode_that_was_cut_off_goes_on_in_its_middle(
    dataset: Path, small: MineCLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = expected(small, dataset)[3]
    episode = episodes(dataset)[3]
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for _ in embed_episodes([episode], small, batch=8, like=LIKE, on_frames=lambda _p, n: stop_after(seen, n, 40)):
            pass
    assert (dataset / PARTS / "e3.npz").exists()
    starts: list[int] = []
    read = NativeFormat.mineclip_frames

    def noted(layout: NativeFormat, start: int = 0) -> Iterator[Any]:
        starts.append(start)
        return read(layout, start)

    monkeypatch.setattr(NativeFormat, "mineclip_frames", noted)
    (part,) = embed_episodes([Episode(episode.path)], small, batch=8, like=LIKE)
    assert starts == [40]
    assert part.embedded == 30
    assert part.fault is None
    # The rows were let go once they were handed over; a second pass gives them to look at.
    (rows,) = [np.array(part.rows) for part in embed_episodes([Episode(episode.path)], small, batch=8, like=LIKE)]
    assert same(rows, wanted)
    assert not (dataset / PARTS).exists()


def cut_after(episode: Episode, small: MineCLIP, frames: int) -> None:
    seen: list[int] = []
    begun = Part(episode, small.embed_dim, LIKE).done
    with pytest.raises(KeyboardInterrupt):
        list(
            embed_episodes(
                [episode], small, batch=8, like=LIKE, on_frames=lambda _p, n: stop_after(seen, n, begun + frames)
            )
        )


def stop_after(seen: list[int], count: int, limit: int) -> None:
    seen.append(count)
    if sum(seen) >= limit:
        raise KeyboardInterrupt


def test_rows_of_a_part_are_those_of_an_unbroken_run(dataset: Path, small: MineCLIP) -> None:
    wanted = expected(small, dataset)[3]
    episode = episodes(dataset)[3]
    for limit in (8, 16, 32):  # each run goes on where the one before was cut
        cut_after(episode, small, limit)
    part = Part(Episode(episode.path), small.embed_dim, LIKE)
    assert part.done == 56
    assert same(np.asarray(part.rows[:56]), wanted[:56])
    for part in embed_episodes([Episode(episode.path)], small, batch=8, like=LIKE):
        assert same(np.asarray(part.rows), wanted)


def test_a_part_of_other_weights_or_frames_or_a_torn_one_is_not_taken_up(dataset: Path, small: MineCLIP) -> None:
    episode = episodes(dataset)[3]
    with pytest.raises(KeyboardInterrupt):
        list(embed_episodes([episode], small, batch=8, like=LIKE, on_frames=lambda _p, n: stop_after([], n, 8)))
    assert Part(episode, small.embed_dim, LIKE).done == 8
    assert Part(episode, small.embed_dim, {**LIKE, "sha256": "y"}).done == 0
    os.utime(episode.path / "frames_mineclip.mp4", ns=(1, 1))
    assert Part(episode, small.embed_dim, LIKE).done == 0
    state = dataset / PARTS / "e3.npz"
    state.write_bytes(state.read_bytes()[:100])
    assert Part(episode, small.embed_dim, LIKE).done == 0


def test_a_part_is_not_taken_up_once_a_picture_was_replaced(tmp_path: Path, small: MineCLIP) -> None:
    episode = Episode(guide_episode(tmp_path / "dataset" / "e0", 20))
    with pytest.raises(KeyboardInterrupt):
        list(embed_episodes([episode], small, batch=8, like=LIKE, on_frames=lambda _p, n: stop_after([], n, 8)))
    (episode.path / "actions.jsonl").touch()
    assert Part(episode, small.embed_dim, LIKE).done == 8
    picture = episode.path / "frames" / "00003.png"
    picture.write_bytes((episode.path / "frames" / "00004.png").read_bytes())
    assert Part(episode, small.embed_dim, LIKE).done == 0


def test_a_broken_episode_leaves_the_others_in_its_batch_whole(dataset: Path, small: MineCLIP) -> None:
    wanted = expected(small, dataset)
    short = dataset / "e1" / "frames_mineclip.mp4"
    short.write_bytes((dataset / "e2" / "frames_mineclip.mp4").read_bytes())  # 33 frames for an episode of 7
    long = dataset / "e3" / "frames_mineclip.mp4"
    long.write_bytes((dataset / "e2" / "frames_mineclip.mp4").read_bytes())  # 33 frames for one of 70
    found = {}
    for part in embed_episodes(episodes(dataset), small, batch=16, like=LIKE):
        found[part.episode.path.name] = part.fault or np.array(part.rows)
    assert same(found["e0"], wanted[0])
    assert same(found["e2"], wanted[2])
    assert "more frames" in str(found["e1"])
    assert isinstance(found["e3"], UserError)


def test_reading_stays_ahead_and_its_faults_come_through() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(source(), 2)
    assert next(items) == 0
    deadline = time.monotonic() + 120
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) == 4  # one taken, two waiting, one in hand
    items.close()
    assert len(made) == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frames")]

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    items = ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_shards_share_the_work_and_exclude_everybody_else(
    dataset: Path, weights: Path, small: MineCLIP, capsys: pytest.CaptureFixture[str]
) -> None:
    common: dict[str, Any] = {"dataset_dir": str(dataset), "weights": str(weights), "device": "cpu"}
    with alone_in(dataset, Shard(2, 3), "embed"):
        assert main(Args(**common, shard="1/3")) == 0
        with pytest.raises(UserError, match="Another"):
            main(Args(**common, shard="2/3"))
        with pytest.raises(UserError, match="Another"):
            main(Args(**common))
    assert [episode.has_goals for episode in episodes(dataset)] == [True, False, False, True]
    for shard in ("2/3", "3/3"):
        assert main(Args(**common, shard=shard)) == 0
    assert all(same(np.asarray(e.goals), rows) for e, rows in zip(episodes(dataset), expected(small, dataset)))
    with pytest.raises(UserError, match="i/n"):
        main(Args(**common, shard="4/3"))


@pytest.mark.e2e
def test_a_killed_run_is_finished_by_the_next(dataset: Path, weights: Path, small: MineCLIP) -> None:
    """kill -9 while an episode is half done: nothing of it is in the episode, and the next run needs its second half only."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from steve1.data.episodes.episode import Episode\n"
        "from steve1.mineclip.pipeline import embed_episodes\n"
        "from steve1.mineclip.weights import load_mineclip\n"
        "seen = []\n"
        "def slow(path, n):\n"
        "    seen.append(n)\n"
        "    time.sleep(0.2 if len(seen) < 9 else 600)\n"  # until it is killed
        "model = load_mineclip(Path(sys.argv[2]))\n"
        "like = {'sha256': 'x', 'bf16': False}\n"
        "list(embed_episodes([Episode(sys.argv[1])], model, batch=4, like=like, save_seconds=0, on_frames=slow))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-c", program, str(dataset / "e3"), str(weights)], env=environment)
    deadline = time.monotonic() + 240
    while not (dataset / PARTS / "e3.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not Episode(dataset / "e3").has_goals
    done = Part(Episode(dataset / "e3"), small.embed_dim, LIKE).done
    assert 0 < done < 70
    for part in embed_episodes([Episode(dataset / "e3")], small, batch=4, like=LIKE):
        assert part.embedded == 70 - done
        assert same(np.asarray(part.rows), expected(small, dataset)[3])
