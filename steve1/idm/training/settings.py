"""Settings of training an inverse dynamics model."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.data.loading.sampling import SAMPLINGS
from steve1.idm.config import IdmConfig

MINI = IdmConfig(
    hidsize=192,
    attention_heads=4,
    attention_memory_size=32,
    timesteps=32,
    n_recurrence_layers=2,
    impala_width=1,
    impala_chans=(8, 16, 16),
    img_shape=(128, 128, 8),
    temperature=1.0,
    motion_reach=14,
)
"""The mini family's sizes, for little data: with the motion input, which the published model does not have."""


@dataclasses.dataclass(frozen=True)
class IdmTrainSettings:
    """What shapes a run."""

    GROUPS: ClassVar = {
        "data": "sampling_name sampling_dir batch_size rare_presses augment mirror compress",
        "optimisation": "learning_rate warmup_steps weight_decay max_grad_norm total_frames seed",
        "validation": "val_freq val_frames best_by start_share",
    }

    sampling_name: str = "idm"
    """Name of the sampling: <name>_train.txt and <name>_val.txt, whose episodes keep their null frames."""
    sampling_dir: str = SAMPLINGS
    """Folder of the lists."""
    batch_size: int = 8
    """Windows per step."""
    total_frames: int = 400_000
    """Frames to train on, repeats included."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW after the warm-up; it then falls in a line to 0."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    max_grad_norm: float = 5.0
    """Largest norm of the gradient; longer ones are shortened."""
    rare_presses: float = 3.0
    """How much more often windows that hold a press of a rare button are drawn; 1: no more often."""
    augment: bool = True
    """Change colours, rotation, scale and place of each window a little, the same in all its frames."""
    mirror: float = 0.25
    """Share of windows that are mirrored, with left and right."""
    compress: float = 0.3
    """Share of windows that go through H.264 at a random quality, as videos from the web have."""
    val_freq: int = 300
    """Steps between validations; 0: at the end only."""
    val_frames: int = 6000
    """Frames to validate on during training, at most; the end uses all."""
    best_by: Literal["loss", "camera", "last"] = "loss"
    """Which weights are kept: those with the lowest validation loss, with the lowest one of the camera alone, or the last ones."""
    start_share: float = 0.0
    """With IN_WEIGHTS: share of the starting weights that is averaged into those that are validated and kept; 0.25 loses less of what they could."""
    seed: int = 0
    """Seed of the initial weights, the windows and their changes."""

    def check(self) -> None:
        """Raise one UserError with every fault."""
        faults = [
            f"{name} must be at least {least}, got {getattr(self, name):g}"
            for name, least in (
                ("batch_size", 1),
                ("total_frames", 1),
                ("warmup_steps", 1),
                ("val_frames", 1),
                ("rare_presses", 1),
            )
            if getattr(self, name) < least
        ]
        if self.learning_rate <= 0 or self.max_grad_norm <= 0 or self.weight_decay < 0:
            faults.append("learning_rate and max_grad_norm must be positive, and weight_decay not negative")
        for name in ("mirror", "compress", "start_share"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} must be between 0 and 1, got {getattr(self, name):g}")
        if self.val_freq < 0:
            faults.append("val_freq must not be negative")
        if faults:
            raise UserError("These settings cannot be used.", got="; ".join(map(translated, faults)))
