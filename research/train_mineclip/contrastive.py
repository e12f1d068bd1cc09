"""Contrastive training of a MineCLIP: clips and captions of the same behaviour together, of different ones apart.

Input: a `ClipStore` and settings. Output: a trained MineCLIP (`.safetensors`), and a run folder with curves and resumable state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from research.train_mineclip.clips import ClipBatch, ClipStore
from research.train_mineclip.retrieval import retrieval
from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.run_folder import RunFolder, settings_dict
from steve1.core.seeds import generator, integer
from steve1.mineclip.config import from_dict
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.tokenizer import tokenize
from steve1.mineclip.weights import save_mineclip

MINI: dict[str, Any] = {
    "embed_dim": 64,
    "resolution": [80, 128],
    "patch": 16,
    "vision_width": 96,
    "vision_layers": 2,
    "vision_heads": 3,
    "text_width": 64,
    "text_layers": 1,
    "text_heads": 2,
    "temporal_layers": 2,
    "temporal_heads": 2,
    "max_frames": 16,
    "adapter_layers": 0,
}
"""Sizes of the mini MineCLIP; about 7.4 MB in half precision, most of it CLIP's vocabulary."""


@dataclass(frozen=True)
class ContrastiveSettings:
    """What shapes a training run."""

    model: dict[str, Any] = field(default_factory=lambda: dict(MINI))
    """Sizes, as `MineCLIPConfig` names them."""
    steps: int = 600
    batch_size: int = 28
    """Clips in a step; behaviours are balanced within it."""
    frames_per_clip: int = 6
    """Frames encoded of each clip's 16, sampled anew each time, to save time in the vision tower."""
    full_share: float = 0.1
    """Share of the steps, at the end, that see all 16 frames, with a smaller batch."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    val_fraction: float = 0.15
    """Share of each behaviour's episodes held out for measuring."""
    eval_every: int = 100
    """Steps between evaluations on held-out episodes, each of which also saves weights and state."""
    seed: int = 0
    bf16: bool = True
    """Matrix products in bfloat16."""

    def check(self) -> None:
        """Raise one UserError with every fault."""
        from_dict(self.model, "the model's sizes")
        counts = ("steps", "batch_size", "frames_per_clip", "warmup_steps", "eval_every")
        faults = [f"{name} must be at least 1, got {getattr(self, name)}" for name in counts if getattr(self, name) < 1]
        if not 0 < self.val_fraction < 1 or not 0 <= self.full_share <= 1:
            faults.append("val_fraction and full_share must be shares between 0 and 1")
        if self.learning_rate <= 0:
            faults.append(f"learning_rate must be positive, got {self.learning_rate}")
        if faults:
            raise UserError("These settings cannot be used.", got="; ".join(map(translated, faults)))


def contrastive_loss(video: Tensor, text: Tensor, behaviours: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE in which the same behaviour is never a negative.

    Args:
        video, text: (B,E), row i of each belong together; behaviours: int64 (B,); scale: the logits' factor.

    Returns:
        The mean of both directions' cross-entropies.
    """
    logits = scale * F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).t()
    same = behaviours[:, None] == behaviours[None, :]
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, -math.inf)
    own = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own))


def augment(frames: Tensor, seed: int, step: int) -> Tensor:
    """Mild changes, the same for all frames of a clip: a crop of 85 to 100 %, brightness and contrast ±15 %.

    frames: uint8 (B,T,h,w,3) → float32 (B,T,h,w,3), 0..255. A function of (seed, step).
    """
    rng = generator(seed, "augment", step)
    n, time_steps, height, width, _ = frames.shape
    zoom = torch.from_numpy(rng.uniform(0.85, 1.0, n)).float()
    shift = torch.from_numpy(rng.uniform(-1, 1, (n, 2))).float() * (1 - zoom)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = shift
    # Frames of a clip become channels, so that one sampling grid serves them all.
    planes = frames.permute(0, 1, 4, 2, 3).reshape(n, time_steps * 3, height, width).float()
    grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False).to(planes.device)
    planes = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    contrast, brightness = (
        torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1))).float().to(planes.device) for _ in "cb"
    )
    middle = planes.mean(dim=(1, 2, 3), keepdim=True)
    planes = (((planes - middle) * contrast + middle) * brightness).clamp(0, 255)
    return planes.view(n, time_steps, 3, height, width).permute(0, 1, 3, 4, 2)


def noisy_tokens(captions: list[str], context: int, vocabulary: int, seed: int, step: int) -> Tensor:
    """Token ids of captions, half of them with one or two random tokens inserted, int64 (B,context).

    A text tower trained from scratch has never seen most words; the noise teaches it to ignore them.
    """
    rng = generator(seed, "words", step)
    ids = tokenize(captions, context)
    for row in ids:
        for _ in range(rng.integers(0, 3) if rng.random() < 0.5 else 0):
            end = int(row.argmax())
            if end + 1 >= context:
                break
            at = int(rng.integers(1, end + 1))
            row[at + 1 : end + 2] = row[at : end + 1].clone()
            row[at] = int(rng.integers(0, vocabulary - 2))
    return ids


def batch_loss(model: MineCLIP, batch: ClipBatch, settings: ContrastiveSettings, step: int) -> Tensor:
    """The loss of one batch, differentiable."""
    frames = augment(torch.from_numpy(batch.frames).to(model.device), settings.seed, step)
    n, time_steps = frames.shape[:2]
    features = model.image_features(frames.flatten(0, 1)).view(n, time_steps, -1)
    video = model.adapter(model.video_embedding(features, torch.from_numpy(batch.positions).to(model.device)))
    config = model.config
    text = model.text_embedding(noisy_tokens(batch.captions, config.context, config.vocabulary, settings.seed, step))
    behaviours = torch.from_numpy(batch.behaviours).to(model.device)
    return contrastive_loss(video, text, behaviours, model.logit_scale.clamp(max=math.log(100)).exp())


def train_mineclip(
    clips: ClipStore,
    output: Path,
    settings: ContrastiveSettings,
    *,
    run: Path,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, dict[str, float]], None] = lambda _step, _scalars: None,
) -> dict[str, Any]:
    """Train, evaluating and saving every `eval_every` steps; a run found in the folder continues.

    Args:
        clips: episodes in memory; some of each behaviour are held out.
        output: `.safetensors`, half precision, rewritten at every evaluation.
        run: folder for settings, state, curves and TensorBoard.
        on_step: called after each step with its number and scalars.

    Returns:
        The last evaluation: accuracies and confusion, see `retrieval`.

    Raises:
        UserError: settings that cannot be used, weights of others at `output`, or a loss that is not finite.
    """
    settings.check()
    train, held = clips.split(settings.val_fraction, settings.seed)
    torch.manual_seed(integer(settings.seed, "mineclip weights"))
    model = MineCLIP(from_dict(settings.model)).to(device).train()
    model.autocast = settings.bf16
    optimizer = _optimizer(model, settings)
    described = {
        **settings_dict(ContrastiveSettings, settings),
        "episodes": len(clips.episodes),
        "behaviours": clips.behaviours,
    }
    folder = RunFolder(run, described, overwrite, output=output)
    step, figures = 0, {}
    if (saved := folder.load()) is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, figures = saved["step"], saved["figures"]
    loss_sum, loss_count, start = 0.0, 0, time.perf_counter()
    while step < settings.steps:
        value = _step(model, optimizer, train, settings, step)
        step += 1
        loss_sum, loss_count = loss_sum + value, loss_count + 1
        on_step(step, {"loss": value})
        if step % settings.eval_every == 0 or step == settings.steps:
            figures = retrieval(model.eval(), held)
            model.train()
            seconds = (time.perf_counter() - start) / loss_count
            scalars = {name: number for name, number in figures.items() if isinstance(number, float)}
            folder.log(step, **{"train/loss": loss_sum / loss_count, "train/seconds_per_step": seconds}, **scalars)
            save_mineclip(model, output, half=True, notes={"steps": str(step)})
            states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            folder.save({**states, "step": step, "figures": figures})
            on_step(step, {"loss": loss_sum / loss_count, **scalars})
            loss_sum, loss_count, start = 0.0, 0, time.perf_counter()
    folder.close()
    return figures


def _optimizer(model: MineCLIP, settings: ContrastiveSettings) -> torch.optim.Optimizer:
    """AdamW; gains, biases and the temperature do not decay."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.98))


def _step(
    model: MineCLIP, optimizer: torch.optim.Optimizer, train: ClipStore, settings: ContrastiveSettings, step: int
) -> float:
    """One optimizer step; returns its loss."""
    full = step >= settings.steps * (1 - settings.full_share)
    frames = train.clip_frames if full else min(settings.frames_per_clip, train.clip_frames)
    size = max(
        settings.batch_size * settings.frames_per_clip // frames, min(settings.batch_size, 2 * len(train.behaviours))
    )
    rate = settings.learning_rate * min((step + 1) / settings.warmup_steps, 1.0)
    rate *= 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = batch_loss(model, train.batch(size, frames, settings.seed, step), settings, step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    value = float(loss.detach())  # waits for the device, which has the backward pass to do by now
    if not math.isfinite(value):
        raise UserError(
            "The loss of contrastive training is not finite.",
            where=f"step {step}",
            todo="a smaller --learning_rate, or --no_bf16; the last saved weights are kept",
        )
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return value
