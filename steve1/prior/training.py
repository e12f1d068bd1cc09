"""Trains the prior: pairs of text and video embeddings → weights, and a run folder with curves and resumable state.

Reconstruction and KL are averaged over the same axes, so that beta means the same at any width.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from steve1.core.errors import UserError
from steve1.core.files import remove_half_written
from steve1.core.messages import translated
from steve1.core.run_folder import Record, RunFolder, differing_entries, settings_dict
from steve1.core.seeds import generator, integer
from steve1.prior.cvae import Prior, PriorConfig, losses
from steve1.prior.pairs import Pairs, split, tensors
from steve1.prior.weights import save_prior


@dataclass(frozen=True)
class PriorSettings:
    """What shapes a training run."""

    GROUPS: ClassVar = {
        "optimisation": "beta learning_rate weight_decay batch_size max_epochs patience val_fraction seed",
        "network": "hidden_dim latent_dim",
    }

    beta: float = 0.1
    """Weight of the KL term (nats per channel) against the reconstruction error (share of the variance, per channel)."""
    hidden_dim: int = 512
    """Width of the encoder's and decoder's hidden layers."""
    latent_dim: int = 512
    """Size of the latent code."""
    learning_rate: float = 5e-4
    """Learning rate of AdamW."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    batch_size: int = 256
    """Pairs per batch."""
    max_epochs: int = 300
    """Maximum number of epochs."""
    patience: int = 30
    """Stop after this many epochs without a better validation loss."""
    val_fraction: float = 0.1
    """Share of episodes for validation (of pairs, if they name no episodes)."""
    seed: int = 0
    """Seed for the split, the order of pairs and the initial weights."""

    def check(self) -> None:
        """Raise one UserError with every fault."""
        faults = [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in ("hidden_dim", "latent_dim", "batch_size", "max_epochs", "patience")
            if getattr(self, name) < 1
        ]
        if not 0 < self.val_fraction < 1:
            faults.append(f"val_fraction must be between 0 and 1, got {self.val_fraction}")
        faults += [
            f"{name} must be a number of at least 0, got {getattr(self, name)}"
            for name in ("beta", "weight_decay")
            if not 0 <= getattr(self, name) < math.inf
        ]
        faults += [
            f"{name} must be a number above 0, got {getattr(self, name)}"
            for name in ("learning_rate",)
            if not 0 < getattr(self, name) < math.inf
        ]
        if faults:
            raise UserError("These settings cannot be used.", got="; ".join(map(translated, faults)))


@dataclass
class PriorResult:
    """How far a run is, and its best epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    kl: float = math.nan
    """Validation KL per code channel, in nats, of the best epoch; near 0: the code is not used."""
    explained: float = math.nan
    """Share of the validation videos' variance that the reconstruction explains, best epoch."""


def train_prior(
    pairs: Pairs,
    output: Path,
    settings: PriorSettings,
    *,
    run: Path,
    notes: dict[str, str] | None = None,
    half: bool = False,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int, dict[str, float]], None] = lambda _epoch, _scalars: None,
) -> PriorResult:
    """Train until the validation loss stops falling; `output` always holds the best prior so far.

    Args:
        pairs: the data; its width decides the prior's.
        output: `.safetensors` (ours) or `.pt` (STEVE-1's form).
        run: folder for settings, state, curves and TensorBoard; a run found there continues.
        notes: strings for the weights' metadata, such as the MineCLIP's hash.
        on_epoch: called with the epoch's number and its scalars.

    Returns:
        The best epoch and its figures.

    Raises:
        UserError: settings that cannot be used, too little data, a run with other settings or pairs in the folder, or weights of others at `output`.
    """
    settings.check()
    train_rows, val_rows = split(pairs, settings.val_fraction, settings.seed)
    train, val = (tuple(t.to(device) for t in tensors(pairs, rows)) for rows in (train_rows, val_rows))
    # The error is measured in units of the videos' variance around their mean, so that beta does not depend on scale.
    variance = float((train[1] - train[1].mean(dim=0)).square().mean().clamp(min=1e-12))
    torch.manual_seed(integer(settings.seed, "prior weights"))
    prior = Prior(PriorConfig(pairs.text.shape[1], settings.hidden_dim, settings.latent_dim)).to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    described = {**settings_dict(PriorSettings, settings), "pairs": len(pairs), "embed_dim": prior.embed_dim}
    described["pairs_sha256"] = pairs.sha256()
    # Relative to the run's folder, so that both can be moved together.
    described |= {"output": os.path.relpath(output, run), "half": half}
    folder = RunFolder(run, described, overwrite, output=output, differences=_differences)
    state = PriorResult()
    remove_half_written(output.parent, {output.name})
    if (saved := folder.load()) is not None:
        prior.load_state_dict(saved["prior"])
        optimizer.load_state_dict(saved["optimizer"])
        state = PriorResult(**saved["progress"])
    while state.epoch < settings.max_epochs and state.epoch - state.best_epoch < settings.patience:
        state.epoch += 1
        scalars = _epoch(prior, optimizer, (train[0], train[1]), variance, settings, state.epoch)
        scalars |= {
            f"val/{name}": value for name, value in _validate(prior, (val[0], val[1]), variance, settings).items()
        }
        folder.log(state.epoch, **scalars)
        if scalars["val/loss"] < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, scalars["val/loss"]
            state.kl, state.explained = scalars["val/kl"], scalars["val/explained"]
            save_prior(prior, output, half=half, notes=notes)
        folder.save(
            {"prior": prior.state_dict(), "optimizer": optimizer.state_dict(), "progress": dataclasses.asdict(state)}
        )
        on_epoch(state.epoch, scalars)
    folder.close()
    return state


def _differences(earlier: Record, now: Record) -> list[str]:
    """Entries that are not the same; runs of earlier versions did not record some of them."""
    return differing_entries({name: now[name] for name in ("pairs_sha256", "output", "half")} | earlier, now)


def _noise(seed: int, epoch: int, batch: int, shape: tuple[int, int]) -> Tensor:
    """Standard normal noise, a function of (seed, epoch, batch)."""
    return torch.from_numpy(generator(seed, "prior noise", epoch, batch).standard_normal(shape)).float()


def _epoch(
    prior: Prior,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    variance: float,
    settings: PriorSettings,
    epoch: int,
) -> dict[str, float]:
    """One pass over the training rows; returns the means of its losses."""
    prior.train()
    sums = {"train/loss": 0.0, "train/reconstruction": 0.0, "train/kl": 0.0}
    order = torch.from_numpy(generator(settings.seed, "prior order", epoch).permutation(len(data[0])))
    for number, rows in enumerate(order.split(settings.batch_size)):
        text, visual = (tensor[rows.to(tensor.device)] for tensor in data)
        noise = _noise(settings.seed, epoch, number, (len(rows), settings.latent_dim)).to(text.device)
        errors, divergence = losses(prior, text, visual, noise)
        reconstruction, kl = errors.mean() / variance, divergence.mean()
        loss = reconstruction + settings.beta * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        for name, value in zip(sums, (loss, reconstruction, kl)):
            sums[name] += float(value.detach()) * len(rows)
    if not math.isfinite(sums["train/loss"]):
        raise UserError(
            "The loss of the prior is not finite.",
            where=f"epoch {epoch}",
            todo="a smaller --learning_rate; the best prior so far is kept",
        )
    return {name: value / len(data[0]) for name, value in sums.items()}


@torch.no_grad()
def _validate(prior: Prior, data: tuple[Tensor, Tensor], variance: float, settings: PriorSettings) -> dict[str, float]:
    """Validation losses with the same noise every time, so that epochs can be compared."""
    prior.eval()
    text, visual = data
    noise = _noise(settings.seed, 0, 0, (len(text), settings.latent_dim)).to(text.device)
    errors, divergence = losses(prior, text, visual, noise)
    reconstruction, kl = float(errors.mean()) / variance, float(divergence.mean())
    spread = float((visual - visual.mean(dim=0)).square().mean().clamp(min=1e-12))
    return {
        "loss": reconstruction + settings.beta * kl,
        "reconstruction": reconstruction,
        "kl": kl,
        "explained": 1 - float(errors.mean()) / spread,
    }
