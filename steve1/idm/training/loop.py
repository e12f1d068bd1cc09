"""The training of an inverse dynamics model: windows → loss → weights, in a run folder that can be resumed.

Output: weights with `<weights>.json` and a `.model` file beside them; settings, curves, TensorBoard and a report in the run's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import steve1
from steve1.actions.buttons import BUTTONS
from steve1.actions.camera import N_BINS
from steve1.core.checkpoint_metadata import checkpoint_metadata_path
from steve1.core.device import autocast
from steve1.core.errors import UserError
from steve1.core.files import sha256_file, write_json
from steve1.core.frames import AGENT_SIZE
from steve1.core.paths import display
from steve1.core.run_folder import SETTINGS_FILE, Record, RunFolder, differing_entries, settings_dict
from steve1.core.seeds import integer
from steve1.data.loading.batches import explain_dead_workers, loaded
from steve1.idm.config import IdmConfig, read_idm_model, write_idm_model
from steve1.idm.label import Labels, WindowOutput
from steve1.idm.metrics import Scores, best_threshold, scores
from steve1.idm.network import InverseDynamicsModel
from steve1.idm.training.page import write_page
from steve1.idm.training.settings import IdmTrainSettings
from steve1.idm.training.windows import IdmBatch, TrueEpisode, Windows
from steve1.idm.weights import load_idm
from steve1.policy.parameters import parameter_groups, step_unless
from steve1.policy.weights import save_weights

_NOT_TRAINED = ("net.lastlayer.", ".r_layer.", "b_nd")  # in the files, and not in the computation
_MEASURED = ("loss", "buttons", "camera", "grad_norm")
_READ_EVERY = 20
"""Steps on a GPU between two looks at the loss, for which it has to be waited."""
_SHOWN = ("forward", "jump", "attack", "use")  # buttons whose F1 has a curve


@dataclasses.dataclass
class IdmResult:
    """How far a run is, and its best validation: the loss by which it is the best (`best_by`)."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run starts from: sizes, and weights or none."""

    config: IdmConfig
    weights: Path | None = None

    def model(self, seed: int, device: str | torch.device) -> InverseDynamicsModel:
        """The model to be trained."""
        if self.weights is not None:
            return load_idm(self.config, self.weights, device=device)
        torch.manual_seed(integer(seed, "idm weights"))
        return InverseDynamicsModel(self.config).initialise().to(device)


def window_loss(output: WindowOutput, batch: IdmBatch) -> tuple[Tensor, Tensor]:
    """Cross-entropies of the 20 buttons and of the 2 axes, each summed, and averaged over the frames."""
    buttons = -output.buttons.gather(-1, batch.buttons[..., None]).squeeze(-1).sum(-1).mean()
    camera = -output.camera.gather(-1, batch.camera[..., None]).squeeze(-1).sum(-1).mean()
    return buttons, camera


def train_idm(
    train: Sequence[TrueEpisode],
    val: Sequence[TrueEpisode],
    start: Start,
    output: Path,
    settings: IdmTrainSettings,
    *,
    run: Path,
    half: bool = False,
    overwrite: bool = False,
    metadata: dict[str, Any] | None = None,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
    workers: int = 0,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, scalars: None,
    on_validation: Callable[[int, dict[str, float]], None] = lambda step, scalars: None,
) -> tuple[IdmResult, Scores]:
    """Train to the end; `output` always holds the best weights so far.

    Args:
        train, val: episodes with their true actions.
        output: `.weights` or `.safetensors`; `<output>.json` and the `.model` file come beside it.
        run: folder for settings, state, curves and TensorBoard; a run found there continues.
        half: save as float16; validation during the run is of the float32 weights, the final scores are of the saved ones.
        metadata: of the weights, such as the game.
        precision: torch.bfloat16 runs the network under autocast; validation stays in float32.
        workers: processes that load windows; 0 loads in this one. The windows are the same.
        on_step, on_validation: called with the number of the step and its figures; on a GPU a step's are those of a step not long before.

    Returns:
        The best validation, and the scores of the best weights on `val`, as `judged` gives them.

    Raises:
        UserError: settings that cannot be used, a run with other settings in the folder, weights of others at `output`, or a loss that is not finite.
    """
    settings.check()
    if not overwrite and not (run / SETTINGS_FILE).is_file():
        _check_model_file(output.with_suffix(".model"), start.config)
    place = torch.device(device)
    model = start.model(settings.seed, place)
    if start.weights is None:
        if settings.start_share:
            raise UserError(
                "There are no starting weights to average with.",
                expected="--in_weights",
                got=f"--start_share {settings.start_share:g}",
            )
        _answer_with_frequencies(model, train)
    shown = _Shown(model, start, settings.start_share)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in _NOT_TRAINED))
    windows = Windows(train, start.config.timesteps, settings)
    record = {
        **settings_dict(IdmTrainSettings, settings),
        "model": start.config.to_model()["model"],
        "in_weights_sha256": sha256_file(start.weights) if start.weights else None,
        "episodes": sorted(each.episode.path.name for each in [*train, *val]),
        "actions_sha256": _digest(train, val),
        "output": os.path.relpath(output, run),  # so that both can be moved together
        "half": half,
    }
    opened = RunFolder(run, record, overwrite, output=output, differences=_differences)
    with contextlib.closing(opened) as folder, explain_dead_workers():
        groups = parameter_groups(model, settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, settings.learning_rate, fused=True)
        result = IdmResult()
        if (saved := folder.load()) is not None:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            result = IdmResult(**saved["progress"])
        steps = math.ceil(settings.total_frames / (settings.batch_size * start.config.timesteps))
        some = _first_frames(val, settings.val_frames)
        measured: list[Tensor] = []
        every = 1 if place.type == "cpu" else _READ_EVERY
        figures: dict[str, float] = {}
        batch_bytes = settings.batch_size * start.config.timesteps * math.prod(AGENT_SIZE) * 3
        stream = loaded(windows, workers=workers, start=result.step + 1, batch_bytes=batch_bytes)
        with contextlib.closing(stream):
            for batch in itertools.islice(stream, steps - result.step):
                result.step += 1
                falling = (steps - result.step + 1) / steps
                rate = settings.learning_rate * min(result.step / settings.warmup_steps, falling)
                measured.append(
                    optimize(model, optimizer, batch, rate, settings.max_grad_norm, autocast(place, precision))
                )
                validates = result.step == steps or (settings.val_freq and result.step % settings.val_freq == 0)
                if validates or not figures or result.step % every == 0:
                    figures = _read(measured[-1], rate, result.step)
                on_step(result.step, figures)
                if validates:
                    means = _read(torch.stack(measured).mean(0), rate, result.step)
                    measured = []
                    validated = shown.now()
                    found = _validation(validated, some)
                    folder.log(result.step, **means, **found)
                    loss = found.get("val/camera" if settings.best_by == "camera" else "val/loss", math.inf)
                    if loss < result.best_loss or settings.best_by == "last":
                        result.best_step, result.best_loss = result.step, loss
                        save_weights(validated, output, dtype=torch.float16 if half else torch.float32)
                        write_idm_model(start.config, output.with_suffix(".model"))
                    folder.save(
                        {
                            "model": model.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "progress": dataclasses.asdict(result),
                        }
                    )
                    on_validation(result.step, found)
        best = load_idm(start.config, output, device=place)
        found_scores = judged(best, val)
        _write_metadata(output, start.config, found_scores, metadata or {}, run)
        write_page(run, folder.rows, found_scores, record, result.best_step)
    return result, found_scores


class _Shown:
    """The model that is validated and kept: the trained one, or its average with the starting weights."""

    def __init__(self, model: InverseDynamicsModel, start: Start, share: float) -> None:
        self._model, self._start, self._share = model, start, share

    @torch.no_grad()
    def now(self) -> InverseDynamicsModel:
        """As training stands."""
        if not self._share:
            return self._model
        found = load_idm(self._start.config, self._start.weights, device=self._model.device)
        trained = self._model.state_dict()
        for name, value in found.state_dict().items():
            value.lerp_(trained[name], 1 - self._share)
        return found


def _digest(train: Sequence[TrueEpisode], val: Sequence[TrueEpisode]) -> str:
    """A hash of which episodes are trained on and which validate, of their weights and their actions: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for part in (train, val):
        for each in part:  # in the list's order, by which windows are drawn
            found.update(f"{each.episode.path.name} {each.weight:g} {len(each)}\n".encode(errors="surrogateescape"))
            found.update(np.packbits(each.pressed).tobytes() + np.ascontiguousarray(each.degrees).tobytes())
        found.update(b"\n")
    return found.hexdigest()[:16]


def _check_model_file(path: Path, config: IdmConfig) -> None:
    """UserError where a `.model` file of other settings would be replaced: weights that differ in their endings alone share one."""
    if not path.exists():
        return
    with contextlib.suppress(UserError):  # a policy's, or no such file at all
        if read_idm_model(path) == config:
            return
    raise UserError(
        "The .model file of the output weights exists already and is not this run's.",
        where=display(path),
        todo="choose another OUT_WEIGHTS, or --overwrite to replace it",
    )


def _differences(earlier: Record, now: Record) -> list[str]:
    """Entries that are not the same; runs of earlier versions did not record some of them."""
    return differing_entries({name: now[name] for name in ("output", "half", "actions_sha256")} | earlier, now)


@torch.no_grad()
def _answer_with_frequencies(model: InverseDynamicsModel, train: Sequence[TrueEpisode]) -> None:
    """Set the heads' biases so that a new model answers how often each choice is right, and need not learn that first."""
    pressed = np.concatenate([each.pressed for each in train])
    bins = np.concatenate([each.bins for each in train])
    counts = np.stack([(~pressed).sum(axis=0), pressed.sum(axis=0)], axis=1) + 1.0  # (20, 2)
    camera = np.stack([np.bincount(bins[:, axis], minlength=N_BINS) for axis in (0, 1)]) + 1.0  # (2, 11)
    for head, found in ((model.pi_head.buttons, counts), (model.pi_head.camera, camera)):
        shares = np.log(found / found.sum(axis=1, keepdims=True)) * model.config.temperature
        cast(nn.Linear, head["linear_layer"]).bias.copy_(torch.from_numpy(shares.reshape(-1)).float())


def optimize(
    model: InverseDynamicsModel,
    optimizer: torch.optim.Optimizer,
    batch: IdmBatch,
    rate: float,
    max_grad_norm: float,
    precision: AbstractContextManager[None],
) -> Tensor:
    """One optimizer step, without waiting for the device; one that is not finite changes no weight. Returns `_MEASURED` as f32 (4,)."""
    model.train()
    batch = IdmBatch(*(part.to(model.device) for part in (batch.frames, batch.buttons, batch.camera)))
    with precision:
        output = model(batch.frames)
    buttons, camera = window_loss(output, batch)
    loss = buttons + camera
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    step_unless(~(torch.isfinite(loss) & torch.isfinite(norm)), optimizer)
    return torch.stack([each.detach().float() for each in (loss, buttons, camera, norm)])


def _read(measured: Tensor, rate: float, step: int) -> dict[str, float]:
    """The figures of steps up to this one.

    Raises:
        UserError: the loss is not finite.
    """
    figures = {f"train/{name}": value for name, value in zip(_MEASURED, measured.tolist())}
    if not math.isfinite(figures["train/loss"]):
        todo = "a smaller --learning_rate; the best weights so far are kept"
        raise UserError("The loss is not finite.", where=f"step {step}", todo=todo)
    return {**figures, "train/learning_rate": rate}


def _first_frames(episodes: Sequence[TrueEpisode], most: int) -> list[TrueEpisode]:
    """Whole episodes until they have that many frames; at least one."""
    chosen: list[TrueEpisode] = []
    frames = 0
    for each in episodes:
        if chosen and frames + len(each) > most:
            continue
        chosen.append(each)
        frames += len(each)
    return chosen


def _labels(model: InverseDynamicsModel, episodes: Sequence[TrueEpisode]) -> list[Labels]:
    model.eval()
    return [model.label(iter(each.episode.frames(0, len(each)))) for each in episodes]


def _validation(model: InverseDynamicsModel, episodes: Sequence[TrueEpisode]) -> dict[str, float]:
    """The loss on whole episodes, labelled as videos are, and scores."""
    labels = _labels(model, episodes)
    buttons = camera = 0.0
    for found, each in zip(labels, episodes):
        buttons -= float(np.take_along_axis(found.buttons, each.pressed.astype(int)[..., None], 2).sum())
        camera -= float(np.take_along_axis(found.camera, each.bins[..., None], 2).sum())
    frames = sum(map(len, episodes))
    known = _scores(labels, episodes)
    figures = {
        "val/loss": (buttons + camera) / frames,
        "val/buttons": buttons / frames,
        "val/camera": camera / frames,
        "val/r2_pitch": known.camera[0].r2,
        "val/r2_yaw": known.camera[1].r2,
    }
    figures |= {f"val/f1_{name}": known.button(name).f1 for name in _SHOWN}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _scores(
    labels: Sequence[Labels], episodes: Sequence[TrueEpisode], thresholds: Sequence[float] | None = None
) -> Scores:
    probabilities = np.concatenate([np.exp(found.buttons[:, :, 1]) for found in labels])
    bins = np.concatenate([found.camera.argmax(2) for found in labels])
    ends = np.cumsum([len(each) for each in episodes])[:-1].tolist()
    pressed = np.concatenate([each.pressed for each in episodes])
    return scores(probabilities, bins, pressed, np.concatenate([each.degrees for each in episodes]), ends, thresholds)


def judged(model: InverseDynamicsModel, episodes: Sequence[TrueEpisode]) -> Scores:
    """Scores on every other one of these episodes, at thresholds chosen on those between; one episode alone is scored at 0.5."""
    labels = _labels(model, episodes)
    thresholds = [0.5] * len(BUTTONS)
    if len(episodes) > 1:
        probabilities = np.concatenate([np.exp(found.buttons[:, :, 1]) for found in labels[1::2]])
        pressed = np.concatenate([each.pressed for each in episodes[1::2]])
        thresholds = [best_threshold(probabilities[:, column], pressed[:, column]) for column in range(len(BUTTONS))]
        labels, episodes = labels[::2], episodes[::2]
    return _scores(labels, episodes, thresholds)


def _write_metadata(output: Path, config: IdmConfig, found: Scores, more: dict[str, Any], run: Path) -> None:
    """`<weights>.json`."""
    write_json(
        checkpoint_metadata_path(output),
        {
            "kind": "idm",
            "model": display(output.with_suffix(".model")),
            **more,
            "window": config.timesteps,
            "thresholds": {each.name: round(each.threshold, 4) for each in found.buttons},
            "scores": {
                "frames": found.frames,
                "r2": {axis.name: axis.r2 for axis in found.camera if math.isfinite(axis.r2)},
                "f1": {each.name: each.f1 for each in found.buttons if math.isfinite(each.f1)},
            },
            "run": display(run),
            "hashes": {"weights": sha256_file(output)},
            "tool_version": steve1.__version__,
        },
    )
