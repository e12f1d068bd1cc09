"""Settings of labelling videos, and the model that does it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from steve1.actions.buttons import BUTTONS
from steve1.core.checkpoint_metadata import checkpoint_metadata_path
from steve1.core.errors import UserError, nearest
from steve1.core.files import existing_file, read_json, sha256_file
from steve1.core.paths import PUBLISHED, display, resolve
from steve1.data.videos.form import Box, parse_box

PUBLISHED_FOV = 70.0
"""Vertical field of view in degrees that VPT's contractors played at, and Minecraft's default."""
PUBLISHED_GAME = "minecraft"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How videos become labelled episodes."""

    GROUPS: ClassVar = {
        "videos": "env mask start end fov",
        "labels": "idm_model idm_weights calibrate keep_nulls keep_rejected form mineclip_frames",
    }

    idm_model: str = PUBLISHED["idm_model"]
    """The inverse dynamics model's .model file."""
    idm_weights: str = PUBLISHED["idm"]
    """Its weights."""
    env: str = ""
    """The game that the videos are of; default: the one that the model was trained on."""
    mask: tuple[str, ...] = ()
    """Boxes x,y,w,h in pixels of the video to paint over (a facecam, a watermark); NAME=x,y,w,h is for the video of that name only."""
    start: float = 0.0
    """Seconds to leave out at the beginning of each video."""
    end: float = 0.0
    """Second at which to stop in each video; 0: its end, -20: 20 s before its end."""
    fov: float = 0.0
    """Vertical field of view in degrees that the videos were played at, where it is not the model's; camera labels are corrected for it."""
    calibrate: str = ""
    """A recording with known actions (name.mp4 with name.jsonl beside it): sets the thresholds of the quality checks."""
    keep_nulls: bool = False
    """Keep frames without any action."""
    keep_rejected: bool = False
    """Keep the stretches that the quality checks reject, too."""
    form: Literal["episodes", "recordings"] = "episodes"
    """episodes: for training here. recordings: name.mp4 with name.jsonl (contractor format), for other programs."""
    mineclip_frames: bool = True
    """Also write the 256x160 frames that embedding needs."""

    def __post_init__(self) -> None:
        if self.start < 0 or (self.end > 0 and self.end <= self.start):
            got = f"--start {self.start:g} --end {self.end:g}"
            raise UserError("The part to label ends before it begins.", expected="0 <= start < end", got=got)
        if self.fov and not 20 <= self.fov <= 150:
            raise UserError("This is not a field of view.", expected="20 to 150 degrees", got=self.fov)
        for text in self.mask:
            parse_box(text.rpartition("=")[2])

    def check_masks(self, names: Collection[str]) -> None:
        """UserError for a mask of a video that is not among these."""
        for whose in (text.rpartition("=")[0] for text in self.mask):
            if whose and whose not in names:
                expected = nearest(whose, sorted(names)) if names else "the name of a video"
                raise UserError("No video has the name of this mask.", where="--mask", got=whose, expected=expected)

    def masks_for(self, name: str) -> list[Box]:
        """The boxes to paint over in the video of this name."""
        parts = [text.rpartition("=") for text in self.mask]
        return [parse_box(box) for whose, _, box in parts if whose in ("", name)]


@dataclasses.dataclass(frozen=True, eq=False)
class IdmFiles:
    """The model's files, and what the episodes' metadata says about it."""

    model: Path
    weights: Path
    sha256: str
    fov: float  #: degrees at which its training data was played
    env: str = PUBLISHED_GAME  #: the game of its training data
    thresholds: NDArray[np.float64] | None = (
        None  #: probability (20,) from which each button counts as pressed; None: 0.5
    )

    @classmethod
    def of(cls, model: str | os.PathLike[str], weights: str | os.PathLike[str]) -> IdmFiles:
        """Find them.

        Raises:
            UserError: one is missing.
        """
        found = existing_file(model, "These model settings"), existing_file(weights, "These weights")
        beside = checkpoint_metadata_path(found[1])
        known: dict[str, Any] = read_json(beside) if beside.exists() else {}
        fov = known.get("fov", PUBLISHED_FOV)
        if not isinstance(fov, (int, float)) or not 20 <= fov <= 150:
            raise UserError("This is not a field of view.", where=beside, expected="20 to 150 degrees", got=fov)
        env = game_of_weights(found[1])
        return cls(*found, sha256_file(found[1]), float(fov), env, _thresholds(known.get("thresholds"), beside))

    @property
    def metadata(self) -> dict[str, Any]:
        """For the episodes' metadata."""
        return {"weights": display(self.weights), "sha256": self.sha256, "button_thresholds": self.button_thresholds}

    @property
    def button_thresholds(self) -> dict[str, float] | None:
        """`thresholds` by button."""
        return None if self.thresholds is None else dict(zip(BUTTONS, self.thresholds.tolist(), strict=True))


def game_of_weights(weights: str | os.PathLike[str]) -> str:
    """The game that a model was trained on, by `<weights>.json`; without it, that of the published one.

    Raises:
        UserError: the weights are missing, or what the file says is no name.
    """
    beside = checkpoint_metadata_path(existing_file(weights, "These weights"))
    env = read_json(beside).get("env", PUBLISHED_GAME) if beside.exists() else PUBLISHED_GAME
    if not isinstance(env, str) or not env:
        raise UserError("This is not a game.", where=beside, expected='a name, such as "minecraft"', got=env)
    return env


def _thresholds(known: Any, where: Path) -> NDArray[np.float64] | None:
    """Of a model's metadata."""
    if known is None:
        return None
    values = [known.get(name, 0.5) for name in BUTTONS] if isinstance(known, dict) else [0]
    if not all(isinstance(value, (int, float)) and 0 < value < 1 for value in values):
        expected = "a number between 0 and 1 for each button"
        raise UserError("These thresholds are not valid.", where=where, expected=expected, got=known)
    return np.asarray(values, np.float64)


def same_settings(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether what was made before depends on nothing else. What an earlier version did not note counts as the same."""
    if not isinstance(before, Mapping):
        return False
    return all(
        same_settings(before[name], value) if isinstance(value, Mapping) else before[name] == value
        for name, value in now.items()
        if name in before
    )


def recording_of(path: str) -> Path:
    """The video of `--calibrate`, checked.

    Raises:
        UserError: it or its actions are missing.
    """
    video = resolve(path)
    if not video.is_file() or not any(video.with_suffix(end).is_file() for end in (".jsonl", ".jsonl.gz")):
        raise UserError(
            "This recording does not exist, or has no actions beside it.",
            where=video,
            expected="name.mp4 and name.jsonl",
            todo="record five minutes with a recorder: python -m steve1 record_minecraft",
        )
    return video
