"""What is estimated before a run, what is said when the memory is full, and the optimizer that needs less of it."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch

from benchmarks.policy import TINY, make_batch
from benchmarks.train import saved_bytes
from steve1.commands.train import plan as plan_command
from steve1.core.errors import UserError
from steve1.policy import PolicyConfig, kernels, load_policy, read_model
from steve1.policy.flops import flop_count
from steve1.policy.vision import ActivationCheckpointing
from steve1.training import step as step_module
from steve1.training import train as train_module
from steve1.training.checkpoint.checkpointer import optimizer_state_dict, restore_optimizer
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.memory.estimate import GIB, Method, estimate, flop_per_frame, parameter_counts
from steve1.training.memory.oom import explain_oom, what_fits
from steve1.training.memory.plans import METHODS, plans, start_with, usable
from steve1.training.optim.optimizers import FactoredAdamW
from steve1.training.train import finetune
from steve1.training.trainable import apply_mode, copied_parameters, frozen_copy
from tests.training.conftest import same, weights_of

Make = Callable[..., TrainSettings]
TWO_X = PolicyConfig()
ALONE = Ranks(0, 1, torch.device("cpu"))


def test_checkpointing_keeps_less() -> None:
    """As counted on a CPU; tests/devices compares the planner's bytes with a pretended card."""
    policy = load_policy(TINY)

    def kept(kind: ActivationCheckpointing) -> float:
        batch = make_batch(TINY, 1, 8)
        return saved_bytes(policy, batch, torch.bfloat16, activation_checkpointing=kind)["saved_cnn_bytes_per_frame"]

    plain = kept("none")
    assert kept("light") < 0.6 * plain
    assert kept("full") < 0.2 * plain
    policy.net.img_process.cnn.requires_grad_(False)
    assert kept("none") < 0.01 * plain


def test_plans_fit_and_the_thrifty_ones_come_with_less() -> None:
    assert flop_per_frame(TWO_X, Method(), 64) == pytest.approx(flop_count(TWO_X, 64).train)
    assert flop_per_frame(TWO_X, Method("frozen_cnn", feature_cache=True), 64) < flop_count(TWO_X, 64).train / 25
    everything, trained = parameter_counts(TWO_X, Method())
    assert trained == everything - 2048 - 1 - 3  # the value head is never trained
    for gib in (8.0, 12.0, 24.0):
        found = plans(TWO_X, gib)
        assert found
        assert all(plan.gib * GIB <= usable(gib) and plan.batch_size * plan.gradient_accum_steps == 8 for plan in found)
    small, large = plans(TWO_X, 12.0), plans(TWO_X, 141.0)
    assert large[0].batch_size == 8
    assert small[0].batch_size < 8
    assert start_with(small).trunc_t == 64
    assert [plan.method for plan in large] == list(METHODS)
    assert plans(TWO_X, 1.0) == []
    fixed = estimate(TWO_X, Method(optimizer="factored"), batch=1, trunc_t=16)
    assert fixed.moments == estimate(TWO_X, Method(), batch=1, trunc_t=16).moments / 4


def test_kl_costs_what_its_reference_does_not_share() -> None:
    """With cached features it has no pictures to encode; with a frozen CNN, or with heads alone, most of it is the policy's own."""
    for mode, copied in (("heads_and_goal", 0.1), ("frozen_cnn", 0.95), ("lora", 0.9)):
        with_kl, without = (
            estimate(TWO_X, Method(mode, feature_cache=True, kl=kl), batch=8, trunc_t=64) for kl in (True, False)
        )
        assert with_kl.encoding == 0
        assert with_kl.copies < copied * with_kl.weights
        assert with_kl.tensors > without.tensors
    assert estimate(TWO_X, Method(kl=True), batch=8, trunc_t=64).encoding > 0


@pytest.mark.parametrize("mode", ["all", "norm_bias", "frozen_cnn", "lora", "heads_and_goal"])
def test_the_copies_of_the_reference_are_counted(mode: str) -> None:
    policy = load_policy(TINY)
    apply_mode(policy, TrainSettings(finetune_mode=mode, lora_rank=2))
    own = {parameter.data_ptr() for parameter in policy.parameters()}
    reference = frozen_copy(policy).parameters()
    copied = sum(parameter.numel() for parameter in reference if parameter.data_ptr() not in own)
    assert 0 < copied == copied_parameters(policy)


def test_the_command_answers(capsys: Any) -> None:
    plan_command.main(plan_command.Args(12.0, verbose=True))
    said = capsys.readouterr().out
    assert "bash 3_train_finetune_template.sh" in said
    assert "--finetune_mode frozen_cnn --feature_cache" in said
    assert "assumed" in said
    assert "TOTAL_FRAMES" not in said
    plan_command.main(plan_command.Args(24.0, model="data/mini/mini.model", total_frames=300_000, precision="fp32"))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("start with:"))
    asked = "IN_MODEL=data/mini/mini.model TOTAL_FRAMES=300000 WARMUP_FRAMES=30000 BATCH_SIZE=8 "
    assert line.removeprefix("start with:").strip().startswith(asked), "the run that was asked about"
    assert line.endswith("--precision fp32")
    plan_command.main(plan_command.Args(12.0, frames_per_s=400.0))
    lines = capsys.readouterr().out.splitlines()
    measured = next(line for line in lines if line.startswith("everything")).split()
    assert float(measured[-2]) == pytest.approx(400, rel=0.1)
    plan_command.main(plan_command.Args(16.0, frames_per_s=85.0, precision="fp32"))
    measured = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("everything")).split()
    assert float(measured[-2]) == pytest.approx(85, rel=0.1), "measured in float32"
    hours = []
    for precision in ("bf16", "fp32"):
        plan_command.main(plan_command.Args(16.0, precision=precision))
        said = capsys.readouterr().out
        hours.append(float(re.findall(r"once (\S+) hours", said)[0]))
        assert f"hours: {'35' if precision == 'bf16' else '9'}% of the bf16 rate" in said
    assert hours[1] == pytest.approx(4 * hours[0], rel=0.05), "features are computed in float32 too"
    with pytest.raises(UserError, match="Nothing of this network fits"):
        plan_command.main(plan_command.Args(1.0))
    with pytest.raises(UserError, match="above 0"):
        plan_command.main(plan_command.Args(0.0))


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError("Unable to allocate 9.16 GiB for an array"),
        MemoryError(),
    ],
)
def test_every_kind_of_full_memory_is_explained(settings: Make, fault: Exception) -> None:
    with (
        pytest.raises(UserError, match="memory of this machine is full") as told,
        explain_oom(settings(), read_model(settings().in_model), ALONE, torch.float32),
    ):
        raise fault
    assert "batch_size 2, trunc_t 16" in str(told.value)
    assert "These need less" in str(told.value)


def test_a_full_memory_ends_with_what_fits(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(step_module, "step_unless", full)
    with pytest.raises(UserError, match="memory of this machine is full") as told:
        finetune(settings())
    assert "batch_size 2, trunc_t 16" in str(told.value)
    assert "python -m steve1 plan --gpu_gb" in str(told.value)
    assert "These need less" in str(told.value)
    monkeypatch.setattr(step_module, "step_unless", lambda *_: (_ for _ in ()).throw(RuntimeError("another fault")))
    with pytest.raises(RuntimeError, match="another fault"):
        finetune(settings(overwrite=True))


def test_what_fits_takes_less_and_keeps_the_effective_batch() -> None:
    said = what_fits(TrainSettings(batch_size=8), TWO_X, 12.0, torch.bfloat16)
    assert "BATCH_SIZE=2 GRADIENT_ACCUM_STEPS=4" in said
    assert "--activation_checkpointing light" in said
    assert "expandable_segments" in said
    # something else holds the memory: the estimate would fit, and less is proposed
    assert "BATCH_SIZE=8 GRADIENT_ACCUM_STEPS=1 T=320 TRUNC_T=64 bash 3_train_finetune_template.sh\n" not in what_fits(
        TrainSettings(batch_size=8), TWO_X, 80.0, torch.bfloat16
    )
    assert "none of them fits this network" in what_fits(TrainSettings(), TWO_X, 1.0, torch.bfloat16)


@pytest.mark.parametrize("place", ["making the policy", "reading features"])
def test_memory_that_is_full_before_the_first_step_is_explained_too(
    settings: Make, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    name = {"making the policy": "starting_policy", "reading features": "read_features"}[place]

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train_module, name, full)
    with pytest.raises(UserError, match="memory of this machine is full"):
        finetune(settings(finetune_mode="frozen_cnn", feature_cache=True))


@pytest.mark.e2e
def test_recomputing_changes_no_bit(settings: Make, tmp_path: Path) -> None:
    """In both precisions: what is computed again are the same operations on the same numbers.

    All frames in one pass, as on a card: gradients of several passes are added up in bf16 where autocast keeps the cast weights, and in
    float32 where each pass casts them again.
    """
    for precision in ("fp32", "bf16"):
        found = {}
        for kind in ("none", "light", "full"):
            out = str(tmp_path / f"{kind}_{precision}.weights")
            chosen = settings(
                out_weights=out, total_frames=96, val_freq=0, frames_at_once=32, activation_checkpointing=kind
            )
            found[kind] = weights_of(finetune(dataclasses.replace(chosen, precision=precision)).out_weights)
        assert same(found["none"], found["light"]), precision
        assert same(found["none"], found["full"]), precision


def test_light_without_the_kernels_gives_the_same_gradients() -> None:
    """As on a card: torch's own operations, and the norm's gradient by autograd."""
    policy = load_policy(TINY)
    batch = make_batch(TINY, 1, 8)
    found = {}
    for kind in ("none", "light"):
        policy.zero_grad(set_to_none=True)
        with kernels.unused(), torch.autocast("cpu", torch.bfloat16):
            policy.encode(batch["frames"], activation_checkpointing=kind).float().square().sum().backward()
        found[kind] = {name: each.grad.clone() for name, each in policy.named_parameters() if each.grad is not None}
    assert found["none"].keys() == found["light"].keys()
    assert all(torch.equal(found["none"][name], gradient) for name, gradient in found["light"].items())


def test_the_choices_of_checkpointing_are_said_once_each() -> None:
    # the settings import no torch, so the words stand in two files
    assert get_args(get_type_hints(TrainSettings)["activation_checkpointing"]) == get_args(ActivationCheckpointing)


def test_factored_moments_equal_adamw_where_nothing_is_lost() -> None:
    """Squares of gradients that are an outer product are kept exactly; what remains is bfloat16 of the first moment."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    values = (draw(6, 2, 3, 3), draw(5))
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in values] for _ in range(2))
    factored, exact = (
        kind([{"params": of[:1], "weight_decay": 0.1}, {"params": of[1:], "weight_decay": 0.0}], lr=1e-2)
        for kind, of in ((FactoredAdamW, ours), (torch.optim.AdamW, theirs))
    )
    start = [value.detach().clone() for value in ours]
    signs = draw(6, 18).sign()
    for _ in range(8):
        size = float(draw(1).abs()) + 0.5
        outer = torch.outer(torch.arange(1.0, 7.0), torch.linspace(0.5, 2, 18)) * size * signs
        for pair, gradient in zip(zip(ours, theirs), (outer.view(6, 2, 3, 3), torch.full((5,), size)), strict=True):
            for parameter in pair:
                parameter.grad = gradient.clone()
        factored.step()
        exact.step()
    for mine, reference, before in zip(ours, theirs, start, strict=True):
        moved = (reference - before).detach()
        assert float((mine - reference).detach().norm()) < 6e-3 * float(moved.norm())
    bytes_kept = sum(t.numel() * t.element_size() for t in factored.state[ours[0]].values())
    assert bytes_kept < 0.6 * sum(t.numel() * t.element_size() for t in exact.state[theirs[0]].values())


def test_factored_skips_a_step_that_is_not_finite() -> None:
    parameter = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = FactoredAdamW([parameter], lr=0.1, weight_decay=0.1)
    parameter.grad = torch.ones(3, 4)
    optimizer.step()
    before, state = parameter.detach().clone(), copy.deepcopy(optimizer.state[parameter])
    parameter.grad = torch.full((3, 4), float("nan"))
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert torch.equal(parameter, before)
    assert all(torch.equal(state[name], value) for name, value in optimizer.state[parameter].items())
    optimizer.found_inf = torch.zeros(())
    parameter.grad = torch.ones(3, 4)
    optimizer.step()
    assert (parameter < before).all()


@pytest.mark.e2e
def test_a_factored_run_goes_on_bit_for_bit(settings: Make, tmp_path: Path) -> None:
    common: dict[str, Any] = {"optimizer": "factored", "val_freq": 0, "save_every": 2}
    whole = finetune(settings(out_weights=str(tmp_path / "whole.weights"), **common))
    cut = settings(out_weights=str(tmp_path / "cut.weights"), **common)

    class Killed(Exception):
        pass

    from steve1.training.loop import Hooks

    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        finetune(cut, hooks=Hooks(on_step=kill))
    assert same(weights_of(whole.out_weights), weights_of(finetune(cut).out_weights))


def test_factored_state_goes_through_a_resume_point() -> None:
    policy = torch.nn.Linear(3, 2)
    optimizer = FactoredAdamW(policy.parameters(), lr=0.1)
    policy(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    kept = {name: tensor.clone() for name, tensor in optimizer_state_dict(policy, optimizer).items()}
    restore_optimizer(policy, optimizer, kept)
    assert {"weight/rows", "weight/columns", "bias/exp_avg_sq"} <= set(kept)
    assert all(torch.equal(kept[name], tensor) for name, tensor in optimizer_state_dict(policy, optimizer).items())


def test_settings_of_thrift_are_checked(settings: Make) -> None:
    with pytest.raises(UserError, match="optimizer must be one of adamw, factored"):
        check(dataclasses.replace(settings(), optimizer="adam"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="activation_checkpointing must be one of none, light, full"):
        check(dataclasses.replace(settings(), activation_checkpointing=True))  # type: ignore[arg-type]
    check(settings(activation_checkpointing="light", finetune_mode="frozen_cnn"))  # as a preset sets it


@pytest.mark.parametrize("gpu_gb", [8.0, 24.0, 141.0])
def test_the_plans_table_is_straight(gpu_gb: float, capsys: pytest.CaptureFixture[str]) -> None:
    plan_command.main(plan_command.Args(gpu_gb))
    lines = capsys.readouterr().out.splitlines()
    table = lines[: next(row for row, line in enumerate(lines) if line.startswith("start with"))]
    assert len(table) > 5
    assert {len(line) for line in table} == {len(table[0])}, "numbers end below their titles"
    assert not re.search(r"\ba [AEFHILMNORSX]\w*\d", "\n".join(lines)), "an RTX, an A100, an H200"
