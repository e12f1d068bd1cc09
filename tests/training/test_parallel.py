"""Several processes: two with half the batch each equal one with the whole; saving, validation and faults on all ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steve1.core.errors import UserError
from steve1.policy import load_policy
from steve1.training.config import TrainSettings
from steve1.training.distributed import choose_precision, local_device
from steve1.training.logging.scalars import read_scalars
from steve1.training.train import finetune
from tests.forks import USER_ERROR, needs_forkserver
from tests.training.conftest import STILL, apart, mean_gradients, same, weights_of
from tests.training.processes import DIED, log_of, run_processes

Make = Callable[..., TrainSettings]


def said_by(chosen: TrainSettings, rank: int) -> str:
    return log_of(chosen, rank).read_text()


@pytest.mark.e2e
@needs_forkserver
@pytest.mark.parametrize("accum", [1, 2])
def test_two_processes_equal_one_with_twice_the_batch(settings: Make, tiny: Path, tmp_path: Path, accum: int) -> None:
    # Three validation windows: one rank has two, the other one.
    shape = {
        "T": 24,
        "trunc_t": 8,
        "gradient_accum_steps": accum,
        "total_frames": 6 * 16 * accum,
        "warmup_frames": 30,
        "val_windows": 3,
        "learning_rate": STILL,
    }
    alone = finetune(settings(batch_size=2, **shape))
    two = settings(batch_size=1, **shape, out_weights=str(tmp_path / "two.weights"))
    assert run_processes(two) == [0, 0], said_by(two, 0) + said_by(two, 1)
    expected, found = (read_scalars(folder) for folder in (alone.run_dir, two.run_dir))
    assert apart(mean_gradients(alone.run_dir), mean_gradients(two.run_dir)) < 1e-2
    for name in ("train/loss", "train/gradient_norm", "validation/loss"):
        steps, values = zip(*expected[name], strict=True)
        assert tuple(step for step, _ in found[name]) == steps
        assert tuple(value for _, value in found[name]) == pytest.approx(values, rel=1e-4), name
    said = said_by(two, 0)
    assert "Step 6/6" in said
    assert "训练完成!" in said
    assert "Step" not in said_by(two, 1)
    assert "Saved" not in said_by(two, 1)


@pytest.mark.e2e
@needs_forkserver
def test_fewer_validation_windows_than_processes(settings: Make) -> None:
    """A process without a window takes part in every sum; the results are those of one process."""
    shape = {"batch_size": 1, "val_windows": 1, "val_freq": 2, "total_frames": 4 * 32, "learning_rate": 1e-9}
    chosen = settings(**shape)
    assert run_processes(chosen) == [0, 0], said_by(chosen, 0) + said_by(chosen, 1)
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
    shape = {"batch_size": 1, "T": 24, "trunc_t": 8, "total_frames": 6 * 16, "warmup_frames": 30, "save_every": 1}
    whole, cut = settings(**shape), settings(**shape, out_weights=str(tmp_path / "cut.weights"))
    assert run_processes(whole) == [0, 0], said_by(whole, 0)

    assert run_processes(cut, die_at=4) == [DIED, DIED], said_by(cut, 0)
    assert run_processes(cut) == [0, 0], said_by(cut, 0)
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
    result = finetune(settings(precision="bf16"))
    policy = load_policy(tiny / "tiny.model", result.out_weights)
    assert all(parameter.dtype == torch.float32 for parameter in policy.parameters())
    assert result.skipped_steps == 0
    assert not same(weights_of(result.out_weights), weights_of(tiny / "tiny.weights"))
