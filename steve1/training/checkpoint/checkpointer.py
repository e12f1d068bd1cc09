"""Writes a run's weights (latest, step, best, final, averaged) and the resume points from which it goes on bit for bit.

Everything is written beside its final name and renamed: a kill or a full disk leaves the last good one as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from steve1.core.checkpoint_metadata import CheckpointMetadata
from steve1.core.errors import UserError
from steve1.core.files import atomic_path, read_json, remove, rename, sha256_file, write_json
from steve1.core.paths import display
from steve1.core.run_folder import RESUME_FOLDER, RESUME_POINT, newest_resume_point
from steve1.policy import GoalPolicy, PolicyState
from steve1.training.batches import aligned
from steve1.training.checkpoint.exports import sidecar_files, write_output
from steve1.training.checkpoint.run_folder import RESULT_FILE
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.step import Stepper
from steve1.training.trainable import trained_parameters

MODEL, OPTIMIZER, AVERAGE = "model.safetensors", "optimizer.safetensors", "average.safetensors"
STATE, RECURRENT = "position_{}.json", "carried_{}.safetensors"  # of each rank
# Names that entries of position_<rank>.json had in earlier versions.
_OLD_NAMES = {
    "best_loss": "best_score",
    "bad_in_a_row": "skipped_in_a_row",
    "bad_steps": "skipped_steps",
    "guard": "spike_filter",
    "sums": "metric_sums",
}


@dataclasses.dataclass
class TrainState:
    """A run's progress and its recurrent state between two chunks."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    group: int = 0
    """Which group of gradient_accum_steps batches is being worked on."""
    chunk: int = 0
    """The next chunk of that group."""
    frames: int = 0
    """Frames trained on, all processes together."""
    seconds: float = 0.0
    """What the run took so far, without the time between stop and resume."""
    frames_per_step: int = 0
    """Frames of a full step, of which the schedule counts."""
    windows_per_group: int = 0
    """Windows of a group, all processes together; 0 in resume points of earlier versions."""
    best_score: float | None = None
    """What the best weights are best in: a validation loss, or its sum with the retention loss."""
    best_step: int = 0
    best_sha256: str = ""
    """Of the file of the best weights, known to the first process; "" in resume points of earlier versions."""
    judged_by: str = ""
    """Which validation the score is of (`run_folder.judged_by`); "" in resume points of earlier versions."""
    validations_since_best: int = 0
    validated_step: int = -1
    skipped_in_a_row: int = 0
    skipped_steps: int = 0
    spikes: int = 0
    """Those of the skipped steps that were finite, but spikes."""
    spike_filter: list[float] = dataclasses.field(default_factory=list)
    """The spike filter's running means, of each process."""
    metric_sums: list[float] = dataclasses.field(default_factory=list)
    """Sums since the last console line, of each process."""
    windows: dict[str, int] = dataclasses.field(default_factory=dict)
    """Windows taken from each source so far, by this process."""
    spread: list[int] = dataclasses.field(default_factory=list)
    """Frames at once and CPU threads (`core.tuning.Choice`), of which the last bits of a step depend; empty on a GPU."""
    recurrent: list[PolicyState] = dataclasses.field(default_factory=list)
    """One a micro-batch; empty between two windows."""

    def record(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON."""
        return {name: value for name, value in vars(self).items() if name != "recurrent"}

    @classmethod
    def of(cls, record: dict[str, Any]) -> TrainState:
        """The opposite of `record`, whatever its entries were called when it was written; TypeError for an unknown one."""
        return cls(**{_OLD_NAMES.get(name, name): value for name, value in record.items()})

    def judge_by(self, validation: str) -> bool:
        """Validate so from now on; True where the best so far was chosen by another validation, and is forgotten."""
        other = self.best_score is not None and self.judged_by not in ("", validation)
        if other:
            self.forget_best()
            self.validations_since_best = 0
        self.judged_by = validation
        return other

    def forget_best(self) -> None:
        """The next validation is the best so far."""
        self.best_score, self.best_step, self.best_sha256 = None, 0, ""


class Checkpointer:
    """Writes and reads a run's files. Every process calls the same methods; only the first writes shared files."""

    def __init__(
        self,
        settings: TrainSettings,
        ranks: Ranks,
        policy: GoalPolicy,
        stepper: Stepper,
        metadata: CheckpointMetadata,
    ) -> None:
        self._settings, self._ranks, self._policy, self._metadata = settings, ranks, policy, metadata
        self._stepper, self._folder = stepper, settings.run_dir

    def weights_path(self, kind: str) -> Path:
        """Where weights of a kind ("latest", "best", "step1000") lie in the run's folder."""
        return self._folder / f"{self._settings.name}_{kind}{self._settings.suffix}"

    # ---- writing ----

    def save(self, state: TrainState) -> Path:
        """Write a resume point and the latest weights; returns the weights file to report."""
        state.spike_filter = self._stepper.spike_filter.to_list()
        self._write_resume_point(state)
        self.complete(state)
        return self.weights_path(f"step{state.step}" if self._settings.keep_checkpoints else "latest")

    def save_best(self, state: TrainState) -> None:
        """Save the present weights as the best so far."""
        with self._stage():
            self._write_weights("best", state)
            if self._ranks.is_main:
                state.best_sha256 = sha256_file(self.weights_path("best"))

    def finish(self, state: TrainState) -> tuple[Path, Path | None]:
        """Give the latest weights the name OUT_WEIGHTS, with the best ones beside them; returns both paths.

        They are the same files as in the run's folder, so that a run killed in here still knows them as its own.
        """
        out = self._settings.out_path
        best = self._settings.beside("best") if state.best_score is not None else None
        ema = self._settings.beside("ema") if self._stepper.ema is not None else None
        with self._stage():
            if self._ranks.is_main:
                for kind, target in (("latest", out), ("best", best), ("ema", ema)):
                    if target is not None:
                        self._link(self.weights_path(kind), target)
                result = state.record() | {"out_weights": display(out), "out_sha256": sha256_file(out)}
                result["best_sha256"] = sha256_file(best) if best is not None else ""
                del result["metric_sums"], result["spike_filter"]
                write_json(self._folder / RESULT_FILE, result)
        return out, best

    def _write_weights(self, kind: str, state: TrainState) -> None:
        """Write the policy's weights (or the tuned goal) with their sidecar files."""
        if self._ranks.is_main:
            trained_on = display(self._settings.train_path)
            facts = {"train_list": trained_on, "step": state.step, "frames": state.frames}
            write_output(self._policy, self.weights_path(kind), self._settings, self._metadata, facts)

    def _link(self, source: Path, target: Path) -> None:
        """Give weights and their sidecar files a second name: a hard link, or a copy where the file system has none."""
        for origin, name in zip(sidecar_files(source, self._settings), sidecar_files(target, self._settings)):
            if name.exists() and os.path.samefile(origin, name):
                continue  # renaming a file to another of its names would leave both
            with atomic_path(name) as part:
                try:
                    os.link(origin, part)
                except OSError:
                    shutil.copyfile(origin, part)

    def _write_resume_point(self, state: TrainState) -> None:
        folder = self._folder / RESUME_FOLDER
        target, part = folder / f"step{state.step:09d}", folder / f".step{state.step:09d}.part"
        try:
            with self._stage():
                if self._ranks.is_main:
                    remove(part, ours=RESUME_POINT)
                    part.mkdir(parents=True)
            with self._stage():
                _write_tensors(part / RECURRENT.format(self._ranks.rank), recurrent_state_dict(state.recurrent))
                write_json(part / STATE.format(self._ranks.rank), state.record())
                if self._ranks.is_main:
                    _write_tensors(part / MODEL, self._kept())
                    _write_tensors(part / OPTIMIZER, optimizer_state_dict(self._policy, self._stepper.optimizer))
                    if self._stepper.ema is not None:
                        _write_tensors(part / AVERAGE, self._stepper.ema.tensors())
        except UserError:
            with contextlib.suppress(OSError):
                remove(part, ours=RESUME_POINT)
            raise
        with self._stage():
            if self._ranks.is_main:
                points = [item for item in folder.iterdir() if RESUME_POINT.fullmatch(item.name)]
                remove(target, ours=RESUME_POINT)
                rename(part, target)
                for item in set(points) - {part, target}:  # only now: a kill leaves one of them whole
                    remove(item, ours=RESUME_POINT)

    def complete(self, state: TrainState) -> None:
        """Write the weights of a resume point (again, where a run was killed after the point and before them)."""
        with self._stage():
            self._write_weights("latest", state)
            if self._ranks.is_main and self._settings.keep_checkpoints:
                self._link(self.weights_path("latest"), self.weights_path(f"step{state.step}"))
            if self._stepper.ema is not None:
                with self._stepper.ema.in_place():
                    self._write_weights("ema", state)

    def _kept(self) -> dict[str, torch.Tensor]:
        """The network's tensors in a resume point: all, or the trained ones where the rest never changes."""
        state = dict(self._policy.state_dict())
        if self._settings.finetune_mode == "all":
            return state
        return {name: state[name] for name in trained_parameters(self._policy)}

    @contextlib.contextmanager
    def _stage(self) -> Iterator[None]:
        """A part of writing that all processes enter; where one fails, all stop with a message."""
        with self._ranks.synchronized("writing a checkpoint"):
            try:
                yield
            except (OSError, SafetensorError, RuntimeError) as fault:
                point = newest_resume_point(self._folder)
                kept = f"the last good checkpoint is untouched: {display(point)}" if point else "there was none before"
                raise UserError(
                    "A checkpoint could not be written.",
                    where=display(self._folder),
                    got=str(fault).splitlines()[0] if str(fault) else type(fault).__name__,
                    todo=f"free some space and run the same command again: it goes on ({kept})",
                ) from fault

    # ---- reading ----

    def restore(self, point: Path) -> TrainState:
        """Load weights, optimizer and recurrent state from a resume point.

        With another batch size or number of processes the recurrent state does not fit: the run goes on with the next windows.

        Raises:
            UserError: the point is damaged or was written for another network.
        """
        stepper, settings = self._stepper, self._settings
        own = point / STATE.format(self._ranks.rank)
        try:
            state = TrainState.of(read_json(own if own.exists() else point / STATE.format(0)))
            kept = load_file(point / MODEL)
            if kept.keys() != self._kept().keys():
                raise KeyError("it keeps other parts of the network than these settings train")
            self._policy.load_state_dict(kept, strict=settings.finetune_mode == "all")
            if stepper.ema is not None:
                stepper.ema.restore(load_file(point / AVERAGE))
            restore_optimizer(self._policy, stepper.optimizer, load_file(point / OPTIMIZER))
            stepper.spike_filter.restore(state.spike_filter)
            if own.exists():
                state.recurrent = recurrent_states(load_file(point / RECURRENT.format(self._ranks.rank)))
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as fault:
            raise UserError(
                "This resume point cannot be read.",
                where=display(point),
                got=str(fault).splitlines()[0] if str(fault) else type(fault).__name__,
                todo="--overwrite starts again; the weights files beside it can be given as IN_WEIGHTS",
            ) from fault
        per_step = settings.frames_per_step(self._ranks.world)
        per_group, then = per_step // settings.trunc_t, state.windows_per_group
        then = then or state.frames_per_step // settings.trunc_t
        if state.frames_per_step != per_step:
            state.step, state.recurrent = state.step * state.frames_per_step // per_step, []
            state.frames_per_step = per_step
        shape = [settings.batch_size] * settings.gradient_accum_steps
        if state.chunk and [each.batch for each in state.recurrent] != shape:
            state.group, state.chunk, state.recurrent = state.group + 1, 0, []
        state.group, state.windows_per_group = -(-state.group * then // per_group), per_group
        state.recurrent = [each.to(self._ranks.device) for each in state.recurrent]
        # A run that was killed may have written better ones after this point, and somebody may have removed them.
        best = self.weights_path("best")
        known = best.is_file() and state.best_sha256 in ("", sha256_file(best))
        if state.best_score is not None and not self._ranks.of_main([int(known)])[0]:
            state.forget_best()
        return state


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def optimizer_state_dict(policy: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by parameter name: "<parameter>/<kind>"."""
    return {
        f"{name}/{kind}": torch.as_tensor(value)
        for name, parameter in policy.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    policy: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """The opposite of `optimizer_state_dict`, into the same optimizer over the same policy."""
    parameters = dict(policy.named_parameters())
    optimizer.state.clear()
    for key, tensor in tensors.items():
        name, kind = key.rsplit("/", 1)
        parameter = parameters[name]
        # Fused optimizers step through parameter and moments side by side: their memory layouts have to agree.
        like = parameter if tensor.shape == parameter.shape else tensor
        laid_out = torch.empty_like(like, dtype=tensor.dtype, device=parameter.device)
        optimizer.state[parameter][kind] = laid_out.copy_(tensor)


def recurrent_state_dict(states: list[PolicyState]) -> dict[str, torch.Tensor]:
    """Recurrent states of the micro-batches as named tensors."""
    found: dict[str, torch.Tensor] = {}
    for index, state in enumerate(states):
        found[f"{index}/mask"] = state.mask
        for block, (keys, values) in enumerate(zip(state.keys, state.values)):
            found[f"{index}/keys/{block}"], found[f"{index}/values/{block}"] = keys, values
    return found


def recurrent_states(tensors: dict[str, torch.Tensor]) -> list[PolicyState]:
    """The opposite of `recurrent_state_dict`; an empty list where the point lies between two windows."""
    micro_batches = sum(name.endswith("/mask") for name in tensors)
    blocks = sum(name.startswith("0/keys/") for name in tensors)
    return [
        PolicyState(
            tuple(aligned(tensors[f"{index}/keys/{block}"]) for block in range(blocks)),
            tuple(aligned(tensors[f"{index}/values/{block}"]) for block in range(blocks)),
            aligned(tensors[f"{index}/mask"]),
        )
        for index in range(micro_batches)
    ]
