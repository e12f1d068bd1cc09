"""Room `training`, what a run leaves on disk.

In: the policy, its optimizer, how far the run is, and the recurrent state between two chunks. Out: weights for people
(latest, step, best, final, averaged; products.py says what goes with them) and resume points, from which a run goes on bit for bit.
Everything is written beside its final name and renamed: a kill or a full disk leaves the last good one as it was.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from steve1.core.checkpoint_metadata import CheckpointMetadata
from steve1.core.errors import UserError
from steve1.core.files import atomic_path, read_json, sha256_file, write_json
from steve1.core.paths import display
from steve1.policy import GoalPolicy, PolicyState
from steve1.training.batches import aligned
from steve1.training.checkpoint.exports import sidecar_files, write_product
from steve1.training.checkpoint.run_folder import RESULT_FILE, RESUME_FOLDER, newest_resume_point
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.finetune_modes import trained_parameters
from steve1.training.optim.regularizers import Average

MODEL, OPTIMIZER, AVERAGE = "model.safetensors", "optimizer.safetensors", "average.safetensors"


@dataclasses.dataclass
class Position:
    """How far a run is, and what it has seen; all that resuming needs beside tensors."""

    step: int = 0
    """Optimizer steps done, skipped ones counted."""
    group: int = 0
    """Which group of gradient_accum_steps batches is being worked on."""
    chunk: int = 0
    """The next chunk of that group."""
    frames: int = 0
    """Frames trained on, all processes together."""
    frames_per_step: int = 0
    """Frames of a full step, of which the schedule counts."""
    best_score: float | None = None
    """What the best weights are best in: a validation loss, or its sum with the retention loss."""
    best_step: int = 0
    validations_since_best: int = 0
    validated_step: int = -1
    bad_in_a_row: int = 0
    bad_steps: int = 0
    spikes: int = 0
    """Those of the bad steps that were finite, but stopped by the guard."""
    guard: list[float] = dataclasses.field(default_factory=list)
    """The guard's running means, of each process."""
    sums: list[float] = dataclasses.field(default_factory=list)
    """Averages still in the making since the last console line, of each process."""
    windows: dict[str, int] = dataclasses.field(default_factory=dict)
    """Windows taken from each source so far, by this process."""

    def advance(self, following: tuple[int, int], frames: int, windows: Mapping[str, int]) -> None:
        """One step further: the next (group, chunk), frames trained, and new windows by source."""
        self.step += 1
        self.frames += frames
        self.group, self.chunk = following
        for source, count in windows.items():
            self.windows[source] = self.windows.get(source, 0) + count


class Checkpointer:
    """Writes and reads a run's files. Every process calls the same methods; only the first writes shared files.

    Args:
        policy: the network, without any wrapper.
        metadata: what goes with its weights (written beside every weights file).
        average: the weights' running mean, where one is kept.
    """

    def __init__(
        self,
        settings: TrainSettings,
        ranks: Ranks,
        policy: GoalPolicy,
        optimizer: torch.optim.Optimizer,
        metadata: CheckpointMetadata,
        average: Average | None = None,
    ) -> None:
        self._settings, self._ranks = settings, ranks
        self._policy, self._optimizer, self._metadata, self._average = policy, optimizer, metadata, average
        self._folder = settings.run_dir

    def weights_path(self, kind: str) -> Path:
        """Where weights of a kind ("latest", "best", "step1000") lie in the run's folder."""
        return self._folder / f"{self._settings.name}_{kind}{self._settings.suffix}"

    # ---- writing ----

    def save(self, position: Position, states: list[PolicyState]) -> Path:
        """A resume point and the latest weights; returns the file to name to people."""
        self._write_resume_point(position, states)
        self.complete(position)
        return self.weights_path(f"step{position.step}" if self._settings.keep_checkpoints else "latest")

    def save_best(self, position: Position) -> None:
        """The present weights as the best so far."""
        with self._stage():
            if self._ranks.is_main:
                self.write_weights(self.weights_path("best"), position)

    def finish(self, position: Position) -> tuple[Path, Path | None]:
        """The latest weights under OUT_WEIGHTS, and the best ones beside them; returns both paths.

        They are the same files as in the run's folder, so that a run killed in here still knows them as its own.
        """
        out = self._settings.out_path
        best = self._settings.best_path if position.best_score is not None else None
        with self._stage():
            if self._ranks.is_main:
                self._link(self.weights_path("latest"), out)
                if best is not None:
                    self._link(self.weights_path("best"), best)
                if self._average is not None:
                    self._link(self.weights_path("ema"), self._settings.beside("ema"))
                result = {**dataclasses.asdict(position), "out_weights": display(out), "out_sha256": sha256_file(out)}
                result["best_sha256"] = sha256_file(best) if best is not None else ""
                write_json(
                    self._folder / RESULT_FILE,
                    {name: value for name, value in result.items() if name not in ("sums", "guard")},
                )
        return out, best

    def write_weights(self, path: Path, position: Position) -> None:
        """The policy's weights (or the tuned goal), with what goes with them."""
        facts = {"step": position.step, "frames": position.frames}
        write_product(self._policy, path, self._settings, self._metadata, facts)

    def _link(self, source: Path, target: Path) -> None:
        """A second name for weights and what goes with them: a hard link, or a copy where the file system has none."""
        for origin, name in zip(sidecar_files(source, self._settings), sidecar_files(target, self._settings)):
            if name.exists() and os.path.samefile(origin, name):
                continue  # renaming a file to another of its names would leave both
            with atomic_path(name) as part:
                try:
                    os.link(origin, part)
                except OSError:
                    shutil.copyfile(origin, part)

    def _write_resume_point(self, position: Position, states: list[PolicyState]) -> None:
        folder = self._folder / RESUME_FOLDER
        target, part = folder / f"step{position.step:09d}", folder / f".step{position.step:09d}.part"
        try:
            with self._stage():
                if self._ranks.is_main:
                    shutil.rmtree(part, ignore_errors=True)
                    part.mkdir(parents=True)
            with self._stage():
                _write_tensors(part / f"carried_{self._ranks.rank}.safetensors", carried_tensors(states))
                write_json(part / _position_name(self._ranks.rank), dataclasses.asdict(position))
                if self._ranks.is_main:
                    _write_tensors(part / MODEL, self._kept())
                    _write_tensors(part / OPTIMIZER, optimizer_tensors(self._policy, self._optimizer))
                    if self._average is not None:
                        _write_tensors(part / AVERAGE, self._average.tensors())
        except UserError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        with self._stage():
            if self._ranks.is_main:
                _replace_folder(part, target)

    def _kept(self) -> dict[str, torch.Tensor]:
        """What a resume point keeps of the network: all of it, or what is trained where the rest stays as it began."""
        state = dict(self._policy.state_dict())
        if self._settings.finetune_mode == "all":
            return state
        return {name: state[name] for name in trained_parameters(self._policy)}

    @contextmanager
    def _stage(self) -> Iterator[None]:
        """One step of writing that all processes take; where one fails, all stop with a message."""
        with self._ranks.together("writing a checkpoint"), self._good_one_stays():
            yield

    @contextmanager
    def _good_one_stays(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError, RuntimeError) as fault:
            point = newest_resume_point(self._folder)
            kept = (
                f"the last good checkpoint is untouched: {display(point)}"
                if point
                else "no checkpoint was there before"
            )
            raise UserError(
                "A checkpoint could not be written.",
                where=display(self._folder),
                got=str(fault).splitlines()[0] if str(fault) else type(fault).__name__,
                todo=f"free some space and run the same command again: it goes on ({kept})",
            ) from fault

    # ---- reading ----

    def restore(self, point: Path) -> tuple[Position, list[PolicyState]]:
        """Take weights, optimizer, position and carried state from a resume point.

        Where batch or processes are other than when it was written, the carried state does not fit: the run goes on with the
        next windows instead.

        Raises:
            UserError: the point is damaged or was written for another network.
        """
        own = point / _position_name(self._ranks.rank)
        try:
            position = Position(**_present_names(read_json(own if own.exists() else point / _position_name(0))))
            kept = load_file(point / MODEL)
            if kept.keys() != self._kept().keys():
                raise KeyError("it keeps other parts of the network than these settings train")
            self._policy.load_state_dict(kept, strict=self._settings.finetune_mode == "all")
            if self._average is not None:
                self._average.restore(load_file(point / AVERAGE))
            restore_optimizer(self._policy, self._optimizer, load_file(point / OPTIMIZER))
            states = (
                carried_states(load_file(point / f"carried_{self._ranks.rank}.safetensors")) if own.exists() else []
            )
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as fault:
            raise UserError(
                "This resume point cannot be read.",
                where=display(point),
                got=str(fault).splitlines()[0] if str(fault) else type(fault).__name__,
                todo="--overwrite starts again; the weights files beside it can be given as IN_WEIGHTS",
            ) from fault
        per_step = self._settings.frames_per_step(self._ranks.world)
        if position.frames_per_step != per_step:
            position.step, states = position.step * position.frames_per_step // per_step, []
        fits = len(states) == self._settings.gradient_accum_steps and states[0].batch == self._settings.batch_size
        if position.chunk and not fits:
            position.group, position.chunk, states = position.group + 1, 0, []
        position.frames_per_step = per_step
        return position, [state.to(self._ranks.device) for state in states]

    def complete(self, position: Position) -> None:
        """Write the weights of a resume point (again, where a run was killed after the point and before them)."""
        latest, step = self.weights_path("latest"), self.weights_path(f"step{position.step}")
        with self._stage():
            if self._ranks.is_main:
                self.write_weights(latest, position)
                if self._settings.keep_checkpoints:
                    self._link(latest, step)
                if self._average is not None:
                    with self._average.in_place():
                        self.write_weights(self.weights_path("ema"), position)


def _present_names(position: dict[str, Any]) -> dict[str, Any]:
    """A position's entries as they are called now."""
    return {"best_score" if name == "best_loss" else name: value for name, value in position.items()}


def _position_name(rank: int) -> str:
    return f"position_{rank}.json"


def _replace_folder(part: Path, target: Path) -> None:
    """`part` becomes `target`; what else lies beside it goes only after that."""
    older = [item for item in target.parent.iterdir() if item not in (part, target)]
    if target.exists():
        shutil.rmtree(target)
    os.rename(part, target)
    for item in older:
        shutil.rmtree(item, ignore_errors=True)


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def optimizer_tensors(policy: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by parameter name: "<parameter>/<kind>"."""
    return {
        f"{name}/{kind}": torch.as_tensor(value)
        for name, parameter in policy.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    policy: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """The opposite of `optimizer_tensors`, into the same optimizer over the same policy."""
    parameters = dict(policy.named_parameters())
    optimizer.state.clear()
    for key, tensor in tensors.items():
        name, kind = key.rsplit("/", 1)
        parameter = parameters[name]
        # Fused optimizers walk through parameter and moments side by side in memory: they have to be laid out alike.
        like = parameter if tensor.shape == parameter.shape else tensor
        optimizer.state[parameter][kind] = torch.empty_like(like, dtype=tensor.dtype, device=parameter.device).copy_(
            tensor
        )


def carried_tensors(states: list[PolicyState]) -> dict[str, torch.Tensor]:
    """Recurrent states of the micro-batches as named tensors."""
    found: dict[str, torch.Tensor] = {}
    for index, state in enumerate(states):
        found[f"{index}/mask"] = state.mask
        for block, (keys, values) in enumerate(zip(state.keys, state.values)):
            found[f"{index}/keys/{block}"], found[f"{index}/values/{block}"] = keys, values
    return found


def carried_states(tensors: dict[str, torch.Tensor]) -> list[PolicyState]:
    """The opposite of `carried_tensors`; an empty list where the point lies between two windows."""
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
