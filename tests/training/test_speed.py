"""What keeps a step fast: nothing waits for the device, gradients are exchanged once a step, and the benchmark's figures hang together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.policy import make_batch
from benchmarks.train import measure_memory, measure_train
from steve1.core.errors import UserError
from steve1.policy import PolicyConfig, load_policy, loss
from steve1.training.batches import chunks, open_windows
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.metrics import MetricsAccumulator
from steve1.training.objectives import BehaviorCloning, LossModule
from steve1.training.step import Stepper
from tests.training.conftest import same

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))
CPU = torch.device("cpu")
SMALL = PolicyConfig(
    hidsize=32,
    attention_heads=2,
    attention_memory_size=48,
    timesteps=16,
    n_recurrence_layers=1,
    impala_width=1,
    impala_chans=(4, 4, 4),
)


class Waits(TorchDispatchMode):
    """Counts the operations that would make the host wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if any(word in str(func) for word in self.WAITING):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class Wrapped(torch.nn.Module):
    """What torch.compile puts around a module, without compiling."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any) -> Any:
        return self.inner(*args)


def stepper_of(chosen: TrainSettings, tiny: Path, ranks: Ranks) -> tuple[Stepper, Any]:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights").train()
    train, *_ = open_windows(chosen)
    return Stepper(policy, chosen, ranks, torch.float32), chunks(train, chosen, ALONE)


@pytest.mark.parametrize("optimizer", ["adamw", "factored"])
def test_a_step_never_waits_for_the_device(
    settings: Make, tiny: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "is_at_hand", lambda x: False)  # as on a GPU
    chosen = settings(gradient_accum_steps=2, optimizer=optimizer)
    ranks = Ranks(0, 1, CPU)
    stepper, feed = stepper_of(chosen, tiny, ranks)
    tally = MetricsAccumulator(ranks, measures=stepper.measures)
    piece = next(feed)
    states = stepper.initial_states(piece)
    stepper.step(piece, states, 1e-4)  # the first one makes the optimizer's state
    with Waits() as waits:
        tally.add(stepper.step(piece, states, 1e-4, 2))
    assert waits.operations > 300
    assert waits.found == []
    with Waits() as waits:
        float(torch.ones(2).sum())
    assert waits.found  # what it looks for is found where it is


@pytest.mark.filterwarnings("error::FutureWarning")
def test_gradients_are_exchanged_once_a_step(settings: Make, tiny: Path, tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        chosen = settings(gradient_accum_steps=3)
        stepper, feed = stepper_of(chosen, tiny, Ranks(0, 2, CPU))  # as one of two, so that it is wrapped
        exchanged: list[int] = []

        def count(_, bucket):  # type: ignore[no-untyped-def]  # DDP refuses other notes of types than its own
            exchanged.append(bucket.buffer().numel())
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        assert stepper._ddp is not None
        stepper._ddp.register_comm_hook(None, count)
        stepper._module = Wrapped(stepper._ddp)
        piece = next(feed)
        stepper.step(piece, stepper.initial_states(piece), 1e-4)
        trained = sum(p.numel() for p in stepper._module.parameters() if p.requires_grad)
        assert sum(exchanged) == trained
        del stepper  # before the group: see `distributed._left`
    finally:
        dist.destroy_process_group()


@pytest.mark.e2e
def test_the_benchmark_measures_both_ways_and_their_parts() -> None:
    threads = torch.get_num_threads()
    found = measure_train(SMALL, batch=1, steps=16, accumulation=2, rounds=1, device="cpu", precision="fp32")
    assert torch.get_num_threads() == threads
    assert found["frames_per_step"] == 32
    assert found["ratio"] == pytest.approx(found["cached"]["frames_per_s"] / found["full"]["frames_per_s"])
    for kind in ("full", "cached"):
        assert set(found[kind]["split_s"]) == {"data", "cnn", "transformer", "heads", "optimizer"}
        assert all(seconds > 0 for seconds in found[kind]["split_s"].values())
        assert found[kind]["percent"] > 0
    assert found["full"]["gflop_per_frame"] > found["cached"]["gflop_per_frame"]
    for kind, other in (("cached", "full"), ("full", "cached")):
        alone = measure_train(SMALL, batch=1, steps=16, accumulation=1, rounds=1, device="cpu", kinds=(kind,))
        assert kind in alone
        assert other not in alone
        assert "ratio" not in alone
    with pytest.raises(UserError, match="at least 16"):
        measure_train(SMALL, steps=8)


def test_saved_bytes_grow_with_precision_and_size() -> None:
    found = measure_memory(dataclasses.replace(SMALL, impala_chans=(16, 16, 16)))
    assert 0 < found["bf16"]["cnn_bytes_per_number"] < found["fp32"]["cnn_bytes_per_number"]
    assert found["fp32"]["block_bytes_per_h"] > 0


def test_what_a_step_reads_lies_where_the_network_is(tiny: Path) -> None:
    policy = load_policy(tiny / "tiny.model").to("meta")
    assert BehaviorCloning(policy, turn_loss_weight=2.0).turns.device == torch.device("meta")


@pytest.mark.e2e
def test_a_compiled_step_is_one_graph_and_the_same_step(tiny: Path) -> None:
    """Traced as --compile traces it, without generating machine code: nothing breaks the graph, and every gradient is the same bit for bit."""
    import torch._dynamo as dynamo

    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights").train()
    batch = make_batch(policy.config, 2, 8)
    plain = LossModule(policy, [BehaviorCloning(policy, 2.0)])
    compiled = torch.compile(plain, backend="aot_eager", fullgraph=True)
    gradients: list[dict[str, torch.Tensor]] = []
    try:
        for module in (plain, compiled):
            policy.zero_grad()
            module(batch, plain.initial_state(2)).loss.backward()
            gradients.append({name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None})
    finally:
        dynamo.reset()
    assert same(*gradients)
