"""Several processes: two with half the batch each equal one with the whole; saving, validation and faults on all ranks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.policy import make_batch
from steve1.core.device import choose_precision
from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.policy import GoalPolicy, load_policy
from steve1.training import batches, distributed, loop
from steve1.training.batches import TbpttChunk
from steve1.training.cache import FeatureCache
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, joined, local_device
from steve1.training.logging.scalars import read_scalars
from steve1.training.step import Stepper
from steve1.training.train import finetune
from tests import forks
from tests.forks import USER_ERROR, needs_forkserver
from tests.training.conftest import SHORT, STILL, apart, mean_gradients, same, weights_of
from tests.training.processes import DIED, log_of, run_processes, run_ranks

Make = Callable[..., TrainSettings]


def said_by(chosen: TrainSettings, *ranks: int) -> str:
    return "\n".join(log_of(chosen, rank).read_text() for rank in ranks or (0, 1))


@pytest.mark.e2e
@needs_forkserver
@pytest.mark.parametrize("accum", [1, 2])
def test_two_processes_equal_one_with_twice_the_batch(settings: Make, tiny: Path, tmp_path: Path, accum: int) -> None:
    # Three validation windows: one rank has two, the other one.
    shape = {
        "T": 24,
        "trunc_t": 8,
        "gradient_accum_steps": accum,
        "total_frames": 4 * 16 * accum,
        "warmup_frames": 30,
        "val_windows": 3,
        "val_freq": 4,
        "learning_rate": STILL,
    }
    alone = finetune(settings(batch_size=2, **shape))
    two = settings(batch_size=1, **shape, out_weights=str(tmp_path / "two.weights"))
    assert run_processes(two) == [0, 0], said_by(two)
    expected, found = (read_scalars(folder) for folder in (alone.run_dir, two.run_dir))
    assert apart(mean_gradients(alone.run_dir), mean_gradients(two.run_dir)) < 1e-2
    for name in ("train/loss", "train/gradient_norm", "validation/loss"):
        steps, values = zip(*expected[name], strict=True)
        assert tuple(step for step, _ in found[name]) == steps
        assert tuple(value for _, value in found[name]) == pytest.approx(values, rel=1e-4), name
    said = said_by(two, 0)
    assert "Step 4/4" in said
    assert "训练完成!" in said
    assert "Step" not in said_by(two, 1)
    assert "Saved" not in said_by(two, 1)


@pytest.mark.e2e
@needs_forkserver
def test_fewer_validation_windows_than_processes(settings: Make) -> None:
    """A process without a window takes part in every sum; the results are those of one process."""
    shape = {
        "batch_size": 1,
        "warmup_frames": 16,
        "val_windows": 1,
        "val_freq": 2,
        "total_frames": 2 * 32,
        "learning_rate": 1e-9,
    }
    chosen = settings(**shape)
    assert run_processes(chosen) == [0, 0], said_by(chosen)
    alone = finetune(settings(**shape, out_weights=str(chosen.out_path.with_name("alone.weights"))))
    expected, found = (read_scalars(folder) for folder in (alone.run_dir, chosen.run_dir))
    names = [name for name in expected if name.startswith(("validation/", "goal/", "f1/", "camera_error"))]
    assert "validation/loss" in names
    assert "goal/loss_none" in names
    for name in names:
        assert found[name][0] == pytest.approx(expected[name][0], rel=1e-5, abs=1e-5), name


@pytest.mark.e2e
@needs_forkserver
def test_resume_is_exact_with_two_processes(settings: Make, tmp_path: Path) -> None:
    shape = {
        "batch_size": 1,
        "T": 24,
        "trunc_t": 8,
        "total_frames": 6 * 16,
        "warmup_frames": 30,
        "save_every": 4,
        "val_freq": 6,
    }
    whole, cut = settings(**shape), settings(**shape, out_weights=str(tmp_path / "cut.weights"))
    assert run_processes(whole) == [0, 0], said_by(whole)

    assert run_processes(cut, die_at=4) == [DIED, DIED], said_by(cut)
    assert run_processes(cut) == [0, 0], said_by(cut)
    assert "continuing after step 4" in said_by(cut, 0)
    assert same(weights_of(whole.out_path), weights_of(cut.out_path))
    with pytest.raises(UserError, match="processes: 2 then, 1 now"):
        finetune(cut)


@pytest.mark.e2e
@needs_forkserver
def test_a_fault_on_one_rank_ends_all(settings: Make) -> None:
    """The run's folder is refused by the first process; the second must not wait for it for ever."""
    chosen = settings(batch_size=1)
    chosen.out_path.parent.mkdir(parents=True)
    chosen.out_path.write_bytes(b"precious")
    assert run_processes(chosen) == [USER_ERROR, USER_ERROR]
    assert "are not this run's" in said_by(chosen, 0)
    assert "Another process of this run failed" in said_by(chosen, 1)


@pytest.mark.e2e
@needs_forkserver
def test_features_are_computed_by_all_processes(settings: Make, tiny: Path, tmp_path: Path) -> None:
    """Six episodes, an odd number of them there already: each process computes its share of the others, and both train on all."""
    common = {"finetune_mode": "frozen_cnn", "feature_cache": True, "cache_dir": str(tmp_path / "cache")}
    chosen = settings(batch_size=1, **common, val_freq=0)
    lists = [tiny / "samplings" / f"tiny_{kind}.txt" for kind in ("train", "val")]
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    cache = FeatureCache(tmp_path / "cache", policy)
    paths = [Path(line) for line in lists[0].read_text().splitlines()]
    cache.fill(paths[:1])
    assert run_processes(chosen) == [0, 0], said_by(chosen)
    assert cache.need(paths).episodes == []
    assert "in 2 episodes" in said_by(chosen, 0), "of three that were missing"
    for path in paths:
        with torch.no_grad():
            frames = torch.from_numpy(Episode(path).frames(0, 64))
            wanted = policy.net.img_process.dense(frames).numpy().astype(np.float16)
        assert np.allclose(cache.rows_of(path), wanted, rtol=1e-2, atol=1e-3)


def leave(environment: dict[str, str]) -> None:
    """Leave a run whose last sum is not done yet, as if gloo's thread were slow to let it go; then free the network, as a run does."""
    import torch.distributed.nn.functional  # imported within, as by a first optimizer, it would hold the group for ever

    os.environ |= environment
    with joined("cpu") as ranks:
        network = DistributedDataParallel(torch.nn.Linear(2, 2))
        time.sleep(ranks.is_main)
        dist.all_reduce(torch.ones(2), async_op=True)
    del network


@pytest.mark.e2e
@needs_forkserver
def test_a_process_that_is_done_does_not_wait_for_its_own_threads_for_ever(tmp_path: Path) -> None:
    codes = run_ranks(
        lambda rank, environment: forks.start(leave, environment, log=tmp_path / f"{rank}.log"), within=60
    )
    assert codes == [0, 0]


def test_ddp_keeps_the_gradients_in_the_buckets_that_it_sends(tiny: Path) -> None:
    """Let go after each step, they would be copied into the buckets each time."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
        ranks = Ranks(0, 2, torch.device("cpu"))  # two, so that the stepper takes DDP
        stepper = Stepper(policy, TrainSettings(batch_size=1, T=16, trunc_t=16), ranks, torch.float32)
        batch = {key: value[:1] for key, value in make_batch(policy.config, 1, 16).items()}
        chunk = TbpttChunk([batch], (0, 0), True, True, [], [])
        places = []
        for number in range(1, 5):
            stepper.step(chunk, stepper.initial_states(chunk), 1e-6, number)
            stepper.free_gradients()
            places.append([each.grad.data_ptr() for each in policy.parameters() if each.grad is not None])
        assert places[1] == places[2] == places[3], "after the first step, whose order of gradients the buckets take"
        assert len(places[3]) > 10
        del stepper  # before the group: see `distributed._left`
    finally:
        dist.destroy_process_group()


@pytest.mark.e2e
def test_a_validation_finds_no_gradients(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take as much memory as the weights."""
    seen = []
    real = loop.validate

    def watched(policy: GoalPolicy, *rest: Any) -> Any:
        seen.append([name for name, each in policy.named_parameters() if each.grad is not None])
        return real(policy, *rest)

    monkeypatch.setattr(loop, "validate", watched)
    finetune(settings(total_frames=96, val_freq=2, val_windows=1))
    assert len(seen) >= 2
    assert not any(seen)


def test_a_gpu_is_taken_before_the_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL would otherwise open a context on the first card in every process."""
    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set_device", device)))
    monkeypatch.setattr(dist, "is_initialized", lambda: bool(calls) and calls[-1][0] == "meet")
    monkeypatch.setattr(dist, "init_process_group", lambda *kind, **more: calls.append(("meet", (*kind, more))))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with joined("cuda") as ranks:
        assert ranks.device == torch.device("cuda:1")
    assert [name for name, _ in calls] == ["set_device", "meet"]
    kind, more = calls[1][1]
    assert kind == "nccl"
    assert more["device_id"] == torch.device("cuda:1")
    assert more["timeout"].total_seconds() > 3600
    with pytest.raises(UserError, match="same GPU") as told, joined("cuda:1"):
        pass
    assert "CUDA_VISIBLE_DEVICES" in str(told.value)


def test_loading_processes_by_need(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    monkeypatch.setattr(batches, "cores", lambda: 8)
    assert batches.loading_processes(TrainSettings(), gpu) == 2
    assert batches.loading_processes(TrainSettings(), cpu) == 1
    assert batches.loading_processes(TrainSettings(feature_cache=True), gpu) == 1
    assert batches.loading_processes(TrainSettings(num_workers=0), gpu) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert batches.loading_processes(TrainSettings(), gpu) == 1, "four processes share eight cores"


def test_devices_and_precisions(tiny: Path) -> None:
    assert local_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="not available"):
            local_device("cuda")
    with pytest.raises(UserError, match="not available") as caught:
        local_device("cuda:99")
    assert "cuda:99" in str(caught.value)
    assert choose_precision("fp32", torch.device("cpu")) == torch.float32
    assert choose_precision("bf16", torch.device("cpu")) == torch.bfloat16
    assert choose_precision("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


@pytest.mark.e2e
def test_bf16_autocast_trains(settings: Make, tiny: Path) -> None:
    result = finetune(settings(precision="bf16", **SHORT))
    policy = load_policy(tiny / "tiny.model", result.out_weights)
    assert all(parameter.dtype == torch.float32 for parameter in policy.parameters())
    assert result.skipped_steps == 0
    assert not same(weights_of(result.out_weights), weights_of(tiny / "tiny.weights"))
