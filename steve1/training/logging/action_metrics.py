"""What the policy would press on validation frames, and how much its goal lowers the loss.

Output: F1 of each button, the camera's error in degrees, the recorded and the sampled shares of actions, and losses under the true goal,
under another window's and under none. All are sums that stay on the device until the validation is over.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.actions import BIN_DEGREES, BUTTONS, N_BINS, N_CAMERA, NULL_CAMERA
from steve1.actions.joint import CAMERA_DEGREES, CAMERA_MOVES, PRESSED
from steve1.policy import GoalPolicy
from steve1.policy.loss import HeadLoss, head_loss
from steve1.training.distributed import Ranks

# The true goal comes first: actions are compared under it.
GOALS = ("true", "shuffled", "none")
# Measured on each validation frame.
MEASURES = (
    "loss",
    "loss_buttons",
    "loss_camera",
    "accuracy_buttons",
    "accuracy_camera",
    "entropy_buttons",
    "entropy_camera",
)
# Summed over frames, and the last two over windows: how many numbers each.
SUMS = {
    "frames": 1,
    "hits": len(BUTTONS),
    "guessed": len(BUTTONS),
    "pressed": len(BUTTONS),
    "sampled": len(BUTTONS),
    "camera_sampled": N_CAMERA,
    "camera_pressed": N_CAMERA,
    "camera": 3,  # error, frames that turn, their error
    "shuffled": 4,  # windows compared, loss under this goal, true goal's loss minus that, its square
    "none": 4,
}


def loss_of_frames(policy: GoalPolicy, latent: Tensor, buttons: Tensor, camera: Tensor) -> Tensor:
    """-(log p(buttons) + log p(camera)) of each frame, (N,): latent (N, H), recorded classes (N,)."""
    head = policy.pi_head
    return head_loss(head.buttons, latent, buttons).losses + head_loss(head.camera, latent, camera).losses


def frame_measures(
    policy: GoalPolicy, latent: Tensor, buttons: Tensor, camera: Tensor, actions: ActionMetrics | None = None
) -> Tensor:
    """MEASURES of N frames, (N, 7): latent (N, H), recorded classes (N,); counted in `actions` where there is one."""
    columns: list[Tensor | None] = [None, None]
    if actions is not None:
        pressed, moves, _ = _tables(latent.device)
        columns = [torch.cat([pressed, moves[:, None]], dim=1), torch.eye(N_CAMERA, device=latent.device)]
    by_buttons = head_loss(policy.pi_head.buttons, latent, buttons, columns=columns[0])
    by_camera = head_loss(policy.pi_head.camera, latent, camera, columns=columns[1])
    if actions is not None:
        actions.add(by_buttons, by_camera, buttons, camera)
    values = [
        by_buttons.losses + by_camera.losses,
        by_buttons.losses,
        by_camera.losses,
        (by_buttons.best == buttons).float(),
        (by_camera.best == camera).float(),
        by_buttons.entropy,
        by_camera.entropy,
    ]
    return torch.stack(values, dim=1)


class ActionMetrics:
    """Sums over validation frames and windows; `share` adds those of all processes, `numbers` and the tables read them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._kept: dict[str, NDArray[np.float64]] = {}

    # ---- counting ----

    def add(self, by_buttons: HeadLoss, by_camera: HeadLoss, buttons: Tensor, camera: Tensor) -> None:
        """Count what the policy would do at N frames: the heads' figures with expectations, and the recorded classes (N,)."""
        pressed, moves, degrees = _tables(buttons.device)
        guess, truth = pressed[by_buttons.best], pressed[buttons]
        turn = torch.where(moves[buttons] > 0, camera, NULL_CAMERA)
        best_turn = torch.where(moves[by_buttons.best] > 0, by_camera.best, NULL_CAMERA)
        # The camera head speaks only where the button class says that the camera moves.
        sampled = by_camera.expected * by_buttons.expected[:, -1:]
        sampled[:, NULL_CAMERA] += 1.0 - by_buttons.expected[:, -1]
        error = (degrees[best_turn] - degrees[turn]).norm(dim=1)
        turning = (turn != NULL_CAMERA).float()
        self._add(
            frames=torch.ones_like(error),
            hits=guess * truth,
            guessed=guess,
            pressed=truth,
            sampled=by_buttons.expected[:, :-1],
            camera_sampled=sampled,
            camera_pressed=torch.nn.functional.one_hot(turn, N_CAMERA),
            camera=torch.stack([error, turning, error * turning], dim=1),
        )

    def add_windows(self, losses: dict[str, Tensor], different: Tensor) -> None:
        """Count whole windows: mean loss of each under each of GOALS (B,), and whether its shuffled goal was another one (B,) bool."""
        for name, counted in (("shuffled", different.float()), ("none", torch.ones_like(losses["true"]))):
            gap = losses["true"] - losses[name]
            rows = torch.stack([torch.ones_like(gap), losses[name], gap, gap**2], dim=1)
            self._add(**{name: rows * counted[:, None]})

    def _add(self, **rows: Tensor) -> None:
        for name, values in rows.items():
            summed = values.sum(0, dtype=torch.float32 if values.device.type == "mps" else torch.float64)
            self._sums[name] = self._sums[name] + summed if name in self._sums else summed

    def share(self, ranks: Ranks) -> None:
        """Add the sums of all processes; only here the host waits for the device.

        A process without a window gives zeros: the others would wait for it otherwise.
        """
        kind = torch.float32 if ranks.device.type == "mps" else torch.float64
        own = [self._sums.get(name, torch.zeros(size, dtype=kind, device=ranks.device)) for name, size in SUMS.items()]
        flat = ranks.sum(torch.cat([values.reshape(-1) for values in own])).cpu().double().numpy()  # MPS has no float64
        self._kept = dict(zip(SUMS, np.split(flat, np.cumsum(list(SUMS.values()))[:-1])))
        self._sums = {}

    # ---- reading ----

    @property
    def _empty(self) -> bool:
        """True where no frame was counted."""
        return not self._kept or not self._kept["frames"][0]

    def numbers(self) -> dict[str, float]:
        """Curves by name; what is unknown (a button that was never pressed, a goal without another to compare) is left out."""
        if self._empty:
            return {}
        error, turning, error_turning = self._kept["camera"].tolist()
        found = {"camera_error_degrees": error / float(self._kept["frames"][0])}
        if turning:
            found["camera_error_turning_degrees"] = error_turning / turning
        scores = self.f1()
        if scores:
            found["f1_mean"] = sum(scores.values()) / len(scores)
        found.update({f"f1/{name}": score for name, score in scores.items()})
        for name in ("shuffled", "none"):
            count, loss, gap, squares = self._kept[name].tolist()
            if count:
                found |= {f"goal/loss_{name}": loss / count, f"goal/true_minus_{name}": gap / count}
            if count > 1:
                spread = max(0.0, squares / count - (gap / count) ** 2) * count / (count - 1)
                found[f"goal/error_{name}"] = math.sqrt(spread / count)
        return found

    def f1(self) -> dict[str, float]:
        """F1 of each button that was pressed in the recordings, taking the policy's most probable action."""
        hits, guessed, pressed = (self._kept[name] for name in ("hits", "guessed", "pressed"))
        return {
            name: float(2 * hits[column] / (guessed[column] + pressed[column]))
            for column, name in enumerate(BUTTONS)
            if pressed[column]
        }

    def button_shares(self) -> dict[str, tuple[float, float]]:
        """By button: share of frames in which it is pressed in the recordings, and in which the policy would press it when sampling."""
        if self._empty:
            return {}
        frames = self._kept["frames"][0]
        shares = ((self._kept[name] / frames).tolist() for name in ("pressed", "sampled"))
        return dict(zip(BUTTONS, zip(*shares)))

    def camera_shares(self) -> dict[str, list[tuple[float, float, float]]]:
        """For "pitch" and "yaw": (degrees a tick, share in the recordings, share when sampling) of each bin."""
        if self._empty:
            return {}
        frames = self._kept["frames"][0]
        kinds = [self._kept[name].reshape(N_BINS, N_BINS) / frames for name in ("camera_pressed", "camera_sampled")]
        return {
            name: list(zip(BIN_DEGREES.tolist(), *(shares.sum(axis).tolist() for shares in kinds)))
            for name, axis in (("pitch", 1), ("yaw", 0))
        }


@lru_cache(maxsize=4)
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Buttons pressed (8641, 20) and whether the camera moves (8641,) by button class; degrees (121, 2) by camera class."""
    arrays = (PRESSED, CAMERA_MOVES, CAMERA_DEGREES)
    pressed, moves, degrees = (torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device) for array in arrays)
    return pressed, moves, degrees
