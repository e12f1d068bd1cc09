"""How fast a run trains, where its time goes, and what it holds in memory.

Input: sizes of a network, of a batch, and a way of training. Output: frames/s of whole optimizer steps, the same on cached features in the same process,
percent of the matrix-product rate measured between the steps, seconds of each part, peak memory.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.load import make_dataset
from benchmarks.policy import TINY, make_batch
from steve1.core.device import choose_precision
from steve1.core.errors import UserError
from steve1.core.tuning import Choice, candidates, tune
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, PolicyConfig, PolicyState, kernels, read_model
from steve1.policy.loss import head_loss
from steve1.policy.vision import ActivationCheckpointing
from steve1.training.batches import Batch, TbpttChunk, chunks
from steve1.training.batches import encode as encode_batch
from steve1.training.cache import FeatureCache
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, local_device
from steve1.training.logging.metrics import peak_memory_mb
from steve1.training.memory.estimate import Method, estimate, flop_per_frame
from steve1.training.step import Stepper, autocast

SIZES = {"tiny": TINY, "2x": PolicyConfig()}
TARGET_RATIO = 15.0  # cached over full training


@dataclasses.dataclass
class Bench:
    """What all measurements share."""

    config: PolicyConfig
    settings: TrainSettings
    ranks: Ranks
    precision: torch.dtype

    @property
    def frames(self) -> int:
        """Of an optimizer step."""
        return self.settings.frames_per_step()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall-clock seconds of `work`, the device waited for before and after."""
        return self.clocked(work)[0]

    def clocked(self, work: Callable[[], Any]) -> tuple[float, float]:
        """The same, and the processor seconds of this process, in which other programs' turns do not count."""
        self.wait()
        began, own = time.perf_counter(), time.process_time()
        work()
        self.wait()
        return time.perf_counter() - began, time.process_time() - own

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)

    def matmul_rate(self, size: int = 0, repeats: int = 4) -> float:
        """FLOP/s (of a processor second on a CPU) of the best of a few square matrix products in the precision of training."""
        size = size or (8192 if self.ranks.device.type == "cuda" else 2048)
        a, b = (torch.randn(size, size, device=self.ranks.device).to(self.precision) for _ in range(2))
        on_gpu = self.ranks.device.type == "cuda"
        return 2.0 * size**3 / min(self.clocked(lambda: a @ b)[0 if on_gpu else 1] for _ in range(repeats))


def measure_train(
    model: str | Mapping[str, Any] | PolicyConfig = "tiny",
    *,
    batch: int = 2,
    steps: int = 64,
    accumulation: int = 2,
    rounds: int = 3,
    device: str = "auto",
    precision: str = "auto",
    activation_checkpointing: ActivationCheckpointing = "none",
    optimizer: str = "adamw",
    compiled: bool = False,
    kinds: tuple[str, ...] = ("cached", "full"),
) -> dict[str, Any]:
    """Whole optimizer steps of full training and of training on cached features, in turns in one process.

    Args:
        model: "tiny", "2x", a .model file, or settings.
        batch, steps, accumulation: windows, frames of each, micro-batches: their product is the frames of a step.
        rounds: steps measured of each kind, after one that is not.
        kinds: what is measured. Full training takes minutes at 2x on a CPU; alone it shows the memory that it needs itself. Only both have a ratio.

    Returns:
        full and cached, each with frames_per_s (of the median step) and its rounds, frames_per_cpu_s (by the process's own processor time), percent (of the
        matrix-product rate beside that step, median, on a CPU by processor time; what is computed twice counts once),
        split_s (seconds of a step's parts, measured one by one: data, cnn, transformer, heads, optimizer), gflop_per_frame, tuned (what a run on a CPU would choose); ratio and ratio_cpu_time; peak_memory_mb
        (of the process so far; of it peak_tensors_mb on a card) after each; estimated_gib, estimated_tensors_gib; frames_per_step, precision, device, threads.
    """
    bench = _bench(model, batch, steps, accumulation, device, precision, activation_checkpointing, optimizer, compiled)
    found: dict[str, Any] = {
        "model": model if isinstance(model, str) else "given",
        "frames_per_step": bench.frames,
        "batch": batch,
        "trunc_t": steps,
        "accumulation": accumulation,
        "precision": str(bench.precision).removeprefix("torch."),
        "device": torch.cuda.get_device_name(bench.ranks.device) if bench.ranks.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "activation_checkpointing": activation_checkpointing,
        "optimizer": optimizer,
        "compile": compiled,
    }
    torch.manual_seed(0)
    policy = GoalPolicy(bench.config).initialise().to(bench.ranks.device)
    with tempfile.TemporaryDirectory(prefix="steve1_bench_") as folder:
        entries = [
            ListEntry(path)
            for path in find_episodes(make_dataset(Path(folder) / "set", 15 + bench.frames, 15 + bench.frames))
        ]
        runs = {
            kind: _Run(bench, policy, entries, Path(folder) / "cache" if kind == "cached" else None) for kind in kinds
        }
        for _ in range(rounds):
            for run in runs.values():
                run.measure_step()
        for kind, run in runs.items():
            found[kind] = run.figures()
    if len(kinds) == 2:
        found["ratio"] = found["cached"]["frames_per_s"] / found["full"]["frames_per_s"]
        found["ratio_cpu_time"] = found["cached"]["frames_per_cpu_s"] / found["full"]["frames_per_cpu_s"]
        found["target_ratio"] = TARGET_RATIO
    if "full" in kinds:
        method = Method("all", bench.settings.optimizer, activation_checkpointing)
        on_gpu = bench.ranks.device.type == "cuda"
        sizes = {"batch": batch, "trunc_t": steps, "accumulation": accumulation}
        memory = estimate(bench.config, method, precision=bench.precision, on_gpu=on_gpu, **sizes)
        found |= {"estimated_gib": memory.total / 2**30, "estimated_tensors_gib": memory.tensors / 2**30}
    return found


def _bench(
    model: Any,
    batch: int,
    steps: int,
    accumulation: int,
    device: str,
    precision: str,
    activation_checkpointing: ActivationCheckpointing,
    optimizer: str,
    compiled: bool,
) -> Bench:
    config = SIZES[model] if isinstance(model, str) and model in SIZES else read_model(model)
    where = local_device(device)
    if config.mineclip_embed_dim != SIZES["2x"].mineclip_embed_dim:
        config = dataclasses.replace(
            config, mineclip_embed_dim=SIZES["2x"].mineclip_embed_dim
        )  # that of the made episodes
    settings = TrainSettings(
        batch_size=batch, gradient_accum_steps=accumulation, T=steps, trunc_t=steps, num_workers=0, activation_checkpointing=activation_checkpointing,
        optimizer=optimizer, compile=compiled, min_btwn_goals=15, max_btwn_goals=100,  # type: ignore[arg-type]
    )  # fmt: skip
    if steps < 16:
        raise UserError("A window needs at least 16 frames.", got=f"{steps}")
    return Bench(config, settings, Ranks(0, 1, where), choose_precision(precision, where))


class _Run:
    """One way of training: its data, its stepper, and what was measured."""

    def __init__(self, bench: Bench, policy: GoalPolicy, entries: list[ListEntry], cache: Path | None) -> None:
        self._bench, self._policy, self._cached = bench, policy, cache is not None
        dataset = WindowDataset(entries, bench.settings.T, min_btwn_goals=15, max_btwn_goals=100, seed=0)
        self._set_frozen()
        if cache is not None:
            _random_features(FeatureCache(cache, policy, precision=bench.precision), dataset)
        settings = bench.settings
        self._feed = chunks(dataset, settings, bench.ranks)
        self._stepper = Stepper(policy, settings, bench.ranks, bench.precision)
        self._optimizer = self._stepper.optimizer
        self._steps: list[float] = []
        self._own: list[float] = []
        self._percent: list[float] = []
        self._data: list[float] = []
        self._warm = False
        self._plain = Choice(policy.net.img_process.plain_frames, torch.get_num_threads())
        method = Method("frozen_cnn", feature_cache=True) if self._cached else Method()
        self.flop = flop_per_frame(bench.config, method, settings.T)

    def _set_frozen(self) -> None:
        """Both kinds share one policy: two of the published size would not fit small machines."""
        self._policy.net.img_process.cnn.requires_grad_(not self._cached)

    def _chunk(self) -> TbpttChunk:
        began = time.perf_counter()
        chunk = next(self._feed)
        self._data.append(time.perf_counter() - began)
        return chunk

    def measure_step(self) -> None:
        """One optimizer step between two measurements of the matrix-product rate."""
        self._set_frozen()
        if not self._warm:
            first = self._chunk()
            self._step(dataclasses.replace(first, micro_batches=first.micro_batches[:1]))
            self._warm, self._data = True, []
        chunk = self._chunk()
        rate = self._bench.matmul_rate()
        wall, own = self._bench.clocked(lambda: self._step(chunk))
        self._steps.append(wall)
        self._own.append(own)
        rate = max(rate, self._bench.matmul_rate())
        took = wall if self._bench.ranks.device.type == "cuda" else own
        self._percent.append(100.0 * self._bench.frames * self.flop / took / rate)

    def _step(self, chunk: TbpttChunk) -> None:
        self._stepper.step(chunk, self._stepper.initial_states(chunk), 1e-9)
        self._optimizer.zero_grad(set_to_none=True)

    def tuned(self) -> dict[str, float]:
        """How a run on a CPU would spread its steps over the processor, and what that brings (of the encoder, or with features of the rest)."""
        batch, plain = self._chunk().micro_batches[0], self._plain
        most = min(batch["first"].numel(), 8 * plain.frames) if "frames" in batch else 0
        found = tune({}, candidates(plain, most), self._stepper.attempt(batch, most), 1e9, fresh=True)
        self._stepper.use(plain)
        return {
            "frames_at_once": found.choice.frames, "threads": found.choice.threads, "frames_per_s": found.speed,
            "plain_frames_at_once": plain.frames, "plain_threads": plain.threads, "plain_frames_per_s": found.plain_speed,
        }  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """What was measured, and the parts one by one."""
        self._set_frozen()
        median = statistics.median(self._steps)
        return {
            "frames_per_s": self._bench.frames / median,
            "frames_per_cpu_s": self._bench.frames / statistics.median(self._own),
            "frames_per_s_rounds": [round(self._bench.frames / seconds, 2) for seconds in self._steps],
            "percent": statistics.median(self._percent),
            "gflop_per_frame": self.flop / 1e9,
            "split_s": {
                "data": statistics.median(self._data),
                **parts_of_a_step(self._bench, self._policy, self._optimizer, self._chunk()),
            },
            "peak_memory_mb": peak_memory_mb(self._bench.ranks.device),
            "peak_tensors_mb": peak_tensors_mb(self._bench.ranks.device),
            "tuned": self.tuned() if self._bench.ranks.device.type == "cpu" else {},
        }


def peak_tensors_mb(device: torch.device) -> float:
    """Most bytes that tensors had on a card, which the planner estimates; 0 elsewhere."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def _random_features(cache: FeatureCache, dataset: WindowDataset) -> None:
    """Rows of the right form: what they say does not change how long training on them takes."""
    cache.folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for path in dataset.paths:
        frames = len(Episode(path))
        np.save(cache.file_of(path), random.standard_normal((frames, cache.size)).clip(0).astype(cache.dtype))
    cache.serve(dataset)


def parts_of_a_step(
    bench: Bench, policy: GoalPolicy, optimizer: torch.optim.Optimizer, chunk: TbpttChunk
) -> dict[str, float]:
    """Seconds of an optimizer step's parts, forward and backward together: cnn, transformer, heads (one micro-batch times their number), optimizer."""
    spent = {"cnn": 0.0, "transformer": 0.0, "heads": 0.0, "optimizer": 0.0}
    for batch in chunk.micro_batches[:1]:
        state = policy.initial_state(len(batch["first"]))
        kept: dict[str, Tensor] = {}

        def encode(batch: Batch = batch, kept: dict[str, Tensor] = kept) -> None:
            with autocast(bench.ranks.device, bench.precision):
                features = encode_batch(policy, batch, bench.settings.activation_checkpointing)
            features.backward(torch.ones_like(features))
            kept["features"] = features.detach()

        def recur(batch: Batch = batch, kept: dict[str, Tensor] = kept, state: PolicyState = state) -> None:
            features = kept["features"].requires_grad_()
            with autocast(bench.ranks.device, bench.precision):
                latent, _ = policy.forward_recurrent(features, batch["goals"], batch["first"], state)
            latent.backward(torch.ones_like(latent))
            kept["latent"] = latent.detach()

        def judge(batch: Batch = batch, kept: dict[str, Tensor] = kept) -> None:
            latent = kept["latent"].flatten(0, 1).requires_grad_()
            weight = torch.full((len(latent),), 1.0 / len(latent), device=latent.device)
            with autocast(bench.ranks.device, bench.precision):
                heads = policy.pi_head
                buttons = head_loss(heads.buttons, latent, batch["buttons"].flatten(), weight).loss
                camera = head_loss(heads.camera, latent, batch["camera"].flatten(), weight).loss
            (buttons + camera).backward()

        for name, work in (("cnn", encode), ("transformer", recur), ("heads", judge)):
            if bench.ranks.device.type == "cuda":
                work()  # a compiled run has not been through these calls, and the first one chooses kernels
            spent[name] += bench.seconds(work) * len(chunk.micro_batches)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()

    spent["optimizer"] = bench.seconds(update)
    optimizer.zero_grad(set_to_none=True)
    return spent


def saved_bytes(
    policy: GoalPolicy,
    batch: Mapping[str, Tensor],
    precision: torch.dtype,
    activation_checkpointing: ActivationCheckpointing = "none",
) -> dict[str, float]:
    """Bytes a frame that are kept for the backward pass, counted tensor by tensor: saved_cnn_… and saved_transformer_….

    batch: from `benchmarks.policy.make_batch`. Weights are not counted, their copies in the lower precision are. A card's operations
    are counted, which keep more than the kernels for a CPU.
    """
    frames = batch["first"].numel()
    own = {parameter.untyped_storage().data_ptr() for parameter in policy.parameters()}

    def count(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = work()
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / frames, result

    with autocast(policy.device, precision), kernels.unused():
        cnn, features = count(lambda: policy.encode(batch["frames"], activation_checkpointing=activation_checkpointing))
        features = features.detach().requires_grad_()
        state = policy.initial_state(len(batch["first"]))
        transformer, _ = count(lambda: policy.forward_recurrent(features, batch["goals"], batch["first"], state)[0])
    return {"saved_cnn_bytes_per_frame": cnn, "saved_transformer_bytes_per_frame": transformer}


def measure_memory(model: str | Mapping[str, Any] | PolicyConfig = "tiny") -> dict[str, Any]:
    """Bytes kept for the backward pass, as counted on a CPU: bf16 and fp32, each with cnn_bytes_per_number (of the stacks' outputs) and block_bytes_per_h.

    The planner's are counted on a pretended card (tests/devices), whose kernels keep other things.
    """
    config = SIZES[model] if isinstance(model, str) and model in SIZES else read_model(model)
    policy = GoalPolicy(config).initialise()
    numbers = sum(channels * height * width for channels, height, width in config.stack_shapes)
    found: dict[str, Any] = {}
    for name, precision in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        few, many = (saved_bytes(policy, make_batch(config, 1, steps), precision) for steps in (8, 24))
        # copies of weights do not grow with the frames: what 24 frames keep more than 8 do belongs to the frames
        grown = {key: (24 * many[key] - 8 * few[key]) / 16 for key in many}
        found[name] = {
            "cnn_bytes_per_number": grown["saved_cnn_bytes_per_frame"] / numbers,
            "block_bytes_per_h": grown["saved_transformer_bytes_per_frame"]
            / (config.hidsize * (config.n_recurrence_layers + 1)),
        }
    return found
