"""Command: what training and playing do on a card, tried in two minutes (`python -m steve1 gpu_check`).

Prints a line for each check and at the end a block to paste into an issue. The mini weights go through everything; the published
network's training step is tried at the sizes that the planner gives for this card, with random weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steve1 import __version__
from steve1.actions import null_action
from steve1.agent import Agent
from steve1.commands.tools.doctor_machine import Machine, nvidia_cards
from steve1.core.device import choose_device, choose_precision, has_bf16, set_tf32
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.messages import heading, padded, translated
from steve1.core.paths import ROOT, display, output_path, resolve
from steve1.core.run_folder import commit
from steve1.data.episodes.episode import write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.policy import GoalPolicy, PolicyConfig, load_policy
from steve1.reporting.tables import Table, Value
from steve1.training.batches import Batch, TbpttChunk
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.scalars import read_scalars
from steve1.training.loop import Hooks
from steve1.training.memory.estimate import GIB, estimate_of
from steve1.training.memory.plans import plans, start_with
from steve1.training.step import Stepper
from steve1.training.train import finetune

FRAMES = 15 + 4 * 32  # of a made episode: four windows of 32
NEAR = 0.05  # nats between log-probabilities in float32 of the device and of the CPU; rounding makes a hundredth of it
FULL_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Args:
    """What to check, and on what."""

    device: str = "auto"
    """Device: auto, cuda, cuda:N, mps, or cpu to try the command itself."""
    weights: str = "data/mini/mini.weights"
    """Policy that goes through everything, with its .model file beside it."""
    steps: int = 20
    """Optimizer steps to train; the run is stopped after half of them and resumed."""
    full_size: bool = True
    """On a GPU also train the published 2x network for a few steps, with random weights."""
    output: str = ""
    """Also write the block to this file."""


@dataclasses.dataclass
class Check:
    """What the checks share."""

    args: Args
    folder: Path
    device: torch.device
    weights: Path
    model: Path
    config: PolicyConfig

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def settings(self, name: str, **more: Any) -> TrainSettings:
        """Settings of a short run on made episodes into a folder of its own."""
        values: dict[str, Any] = {
            "in_model": str(self.model), "in_weights": str(self.weights), "out_weights": str(self.folder / name / "out.weights"),
            "checkpoint_dir": str(self.folder / name), "train_list": str(self.folder / "train.txt"), "val_list": str(self.folder / "val.txt"),
            "cache_dir": str(self.folder / "cache"), "batch_size": 2, "T": 32, "trunc_t": 16, "total_frames": self.args.steps * 32,
            "warmup_frames": 32, "learning_rate": 1e-5, "val_freq": self.args.steps, "save_every": max(1, self.args.steps // 2),
            "log_every": max(1, self.args.steps // 2), "num_workers": 1, "keep_checkpoints": False, "device": self.args.device,
        }  # fmt: skip
        return TrainSettings(**{**values, **more})


@dataclasses.dataclass(frozen=True)
class Result:
    """A check and what it found."""

    name: str
    state: str
    """ok, FAILED or skipped."""
    seconds: float
    found: str


class _Stop(Exception):
    """The run is stopped here on purpose."""


def main(args: Args) -> int:
    """Run all checks and print what they found; 1 where one failed."""
    if args.steps < 2:
        raise UserError("The run is stopped and resumed, so it needs at least two steps.", got=f"--steps {args.steps}")
    device = choose_device(args.device)
    if device.type == "cpu" and args.device == "auto":
        raise UserError(
            "PyTorch sees no GPU on this machine.",
            todo="python -m steve1 doctor says why; --device cpu tries the command on the processor",
        )
    weights = resolve(args.weights)
    model = weights.with_suffix(".model")
    for file in (weights, model):
        if not file.is_file():
            raise UserError(
                "A file of the mini weights is missing.", where=display(file), todo="git checkout data/mini"
            )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    set_tf32(False)
    began, results = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="steve1_gpu_check_") as folder:
        config = load_policy(model, weights).config
        check = Check(args, Path(folder), device, weights, model, config)
        make_episodes(check)
        for name, work in CHECKS.items():
            results.append(tried(name, work, check))
            print(line(results[-1]), flush=True)
    block = report(device, results, time.perf_counter() - began)
    print(translated("\nTo paste into an issue:") + f"\n\n{block}")
    if args.output:
        with atomic_file(output_path(args.output)) as written:
            written.write(block.encode())
    return int(any(result.state == "FAILED" for result in results))


def line(result: Result) -> str:
    """A check for the console, in the user's language; the block for an issue stays in English."""
    first = padded(heading(result.state), 8) + padded(heading(result.name), 26)
    return f"  {first}{result.seconds:6.1f} s  {translated(result.found)}"


def tried(name: str, work: Callable[[Check], str], check: Check) -> Result:
    """A check's result; its own console lines are kept back and shown where it fails."""
    began, said = time.perf_counter(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            found = work(check)
            if check.on_cuda:
                torch.cuda.synchronize(check.device)
        state = "skipped" if found.startswith("skipped") else "ok"
    except Exception as fault:
        print("\n".join([*said.getvalue().splitlines()[-20:], traceback.format_exc(limit=-4)]), flush=True)
        state, found = "FAILED", f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0]}"
    if check.on_cuda:
        torch.cuda.empty_cache()
    return Result(name, state, time.perf_counter() - began, found)


def make_episodes(check: Check) -> None:
    """Two episodes of noise to train on and one to validate on."""
    for number, kind in enumerate(("train", "train", "val")):
        rng = np.random.default_rng(number)
        path = check.folder / f"episode_{number}"
        with EpisodeWriter(path, {"source": "gpu_check"}, keep_mineclip_frames=False) as writer:
            for _ in range(FRAMES):
                action = null_action()
                action["forward"] = 1
                writer.add(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), action)
        goals = rng.standard_normal((FRAMES, check.config.mineclip_embed_dim)).astype(np.float32)
        goals[:15] = np.nan
        write_goals(path, goals)
        with open(check.folder / f"{kind}.txt", "a") as lines:
            lines.write(f"{path}\n")


def loads(check: Check) -> str:
    """The device computes what the CPU computes."""
    random = np.random.default_rng(0)
    frames = torch.from_numpy(random.integers(0, 256, (1, 8, 128, 128, 3), dtype=np.uint8))
    goals = torch.from_numpy(random.standard_normal((1, 8, check.config.mineclip_embed_dim)).astype(np.float32))
    first = torch.zeros(1, 8, dtype=torch.bool)
    found = []
    for device in (torch.device("cpu"), check.device):
        policy = load_policy(check.model, check.weights, device=device).eval()
        with torch.no_grad():
            out = policy(frames.to(device), goals.to(device), first.to(device), policy.initial_state(1))
        found.append(torch.cat([out.buttons, out.camera], dim=-1).cpu())
    apart = float((found[0] - found[1]).abs().max())
    if not apart < NEAR:
        raise UserError(
            "The device computes other numbers than the CPU.", expected=f"below {NEAR} nats", got=f"{apart:.3g}"
        )
    return f"log-probabilities differ from the CPU's by at most {apart:.1e}"


def trains(check: Check) -> str:
    """Half of a run with a validation, stopped after its checkpoint."""
    settings, half = check.settings("run"), check.args.steps // 2

    def stop(step: int) -> None:
        if step == half:
            raise _Stop

    with contextlib.suppress(_Stop):
        finetune(settings, hooks=Hooks(on_step=stop))
    scalars = read_scalars(settings.run_dir)
    losses = [value for _, value in scalars["train/loss"]]
    if not np.isfinite(losses).all():
        raise UserError("A loss is not a finite number.", got=losses)
    return f"{half} steps, loss {losses[-1]:.3f}"


def resumes(check: Check) -> str:
    """The other half, from the checkpoint."""
    settings = check.settings("run")
    result = finetune(settings)
    if result.steps != check.args.steps or result.skipped_steps:
        raise UserError(
            "The run did not go on as it should.",
            expected=f"{check.args.steps} steps, none skipped",
            got=f"{result.steps} steps, {result.skipped_steps} skipped",
        )
    scalars = read_scalars(settings.run_dir)
    loss, speed = scalars["validation/loss"][-1][1], scalars["speed/frames_per_second"][-1][1]
    return f"{result.steps} steps in all, validation loss {loss:.3f}, {speed:,.0f} frames/s (mini, small batches)"


def caches(check: Check) -> str:
    """Features of the frozen CNN, and training on them."""
    settings = check.settings("cached", finetune_mode="frozen_cnn", feature_cache=True, total_frames=4 * 32, val_freq=0)
    result = finetune(settings)
    count = len(list((check.folder / "cache").rglob("*.npy")))
    return f"features of {count} episodes, {result.steps} steps on them"


def plays(check: Check) -> str:
    """An agent with a CUDA graph says what one without says, for one game and for several."""
    policy = load_policy(check.model, check.weights, device=check.device).eval()
    random, found = np.random.default_rng(1), []
    for games in (1, 8):
        agents = [Agent(policy, games=games), Agent(policy, games=games, cuda_graph=check.on_cuda)]
        took, apart = 0.0, 0.0
        for step in range(20):
            frames = list(random.integers(0, 256, (games, 128, 128, 3), dtype=np.uint8))
            goals = list(random.standard_normal((games, check.config.mineclip_embed_dim)).astype(np.float32))
            plain = agents[0].log_probs(frames, goals)["buttons"].cpu()
            began = time.perf_counter()
            graph = agents[1].log_probs(frames, goals)["buttons"].cpu()
            took += time.perf_counter() - began if step >= 10 else 0.0
            apart = max(apart, float((plain - graph).abs().max()))
        if not apart < NEAR:
            raise UserError(
                "A replayed step differs from a plain one.", where=f"{games} games", got=f"{apart:.3g} nats"
            )
        found.append(1000 * took / 10)
    how = "with a CUDA graph" if check.on_cuda else "without a CUDA graph"
    return f"{how}: 1 game {found[0]:.1f} ms a step, 8 games {found[1]:.1f} ms a step (mini)"


def full_size(check: Check) -> str:
    """Steps of the published network at the sizes that the planner gives for this card."""
    if not check.on_cuda or not check.args.full_size:
        return "skipped: for CUDA devices" if not check.on_cuda else "skipped, as asked"
    config, device = PolicyConfig(), check.device
    precision, size = choose_precision("auto", device), torch.cuda.get_device_properties(device).total_memory / GIB
    fitting = plans(config, size, precision=precision)
    if not fitting:
        return f"skipped: nothing of the 2x network fits {size:.1f} GiB"
    plan = start_with(fitting)
    settings = dataclasses.replace(
        plan.method.settings(), batch_size=plan.batch_size, gradient_accum_steps=plan.gradient_accum_steps, trunc_t=plan.trunc_t,
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats(device)
    policy = GoalPolicy(config).initialise().to(device).train()
    stepper = Stepper(policy, settings, Ranks(0, 1, device), precision)
    batches = [made_batch(config, plan.batch_size, plan.trunc_t, device) for _ in range(plan.gradient_accum_steps)]
    chunk = TbpttChunk(batches, (0, 0), True, False, [], [])
    states, began = stepper.initial_states(chunk), 0.0
    for step in range(1 + FULL_STEPS):
        if step == 1:  # the first one chooses kernels
            torch.cuda.synchronize(device)
            began = time.perf_counter()
        output = stepper.step(chunk, states, 1e-9, step + 1)
        states = output.states
    torch.cuda.synchronize(device)
    speed = FULL_STEPS * chunk.n_frames / (time.perf_counter() - began)
    if bool(output.skipped):
        raise UserError("A step of the 2x network was not finite.")
    tensors, held = (each(device) / GIB for each in (torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved))
    wanted = estimate_of(settings, config, precision, on_gpu=True)
    kind = str(precision).removeprefix("torch.")
    sizes = f"{plan.batch_size} x {plan.trunc_t} x {plan.gradient_accum_steps}, {kind} {plan.method.flags()}".strip()
    memory = f"tensors {tensors:.2f} GiB (estimated {wanted.tensors / GIB:.2f}), held {held:.2f} GiB of {size:.1f}"
    return f"{sizes}: {speed:,.0f} frames/s, {memory}"


def made_batch(config: PolicyConfig, rows: int, steps: int, device: torch.device) -> Batch:
    """A batch of noise on the device."""
    with device:
        return {
            "frames": torch.randint(0, 256, (rows, steps, *config.img_shape), dtype=torch.uint8),
            "goals": torch.randn(rows, steps, config.mineclip_embed_dim),
            "first": torch.zeros(rows, steps, dtype=torch.bool),
            "buttons": torch.zeros(rows, steps, dtype=torch.long),
            "camera": torch.zeros(rows, steps, dtype=torch.long),
        }


CHECKS: dict[str, Callable[[Check], str]] = {
    "loads and computes": loads,
    "trains": trains,
    "resumes and validates": resumes,
    "caches features": caches,
    "plays": plays,
    "2x network trains": full_size,
}


def report(device: torch.device, results: list[Result], seconds: float) -> str:
    """The block to paste: machine, versions, and every check."""
    where = str(device)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        driver = next((each.driver for each in nvidia_cards(Machine(ROOT))), "unknown")
        where = (
            f"{card.name}, {card.total_memory / GIB:.1f} GiB, compute capability {card.major}.{card.minor}, "
            f"driver {driver}, bf16 {'yes' if has_bf16(device) else 'no'}"
        )
    built = (
        f"CUDA {torch.version.cuda}"
        if torch.version.cuda
        else f"ROCm {torch.version.hip}"
        if torch.version.hip
        else "CPU"
    )
    rows: list[list[Value]] = [[result.name, result.state, result.seconds, result.found] for result in results]
    lines = [
        "```",
        f"steve1 {__version__} {commit(short=True)}, PyTorch {torch.__version__} ({built}), Python {platform.python_version()}, {platform.platform()}",
        f"device: {where}",
        Table(["check", "result", "s", "found"], rows, {"s": ".1f"}).console(),
        f"{seconds:.0f} s in all",
        "```",
    ]
    return "\n".join(lines) + "\n"
