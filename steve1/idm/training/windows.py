"""Windows of episodes with their true actions, and what is changed about their frames.

Which windows a step sees, and every change, is a function of the seed and the step.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.actions import BUTTONS, N_BINS, to_bins
from steve1.core.errors import UserError
from steve1.core.messages import some, translated
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import origins
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.sampling import is_labelled
from steve1.data.media.stored import encode_video, read_frames_of
from steve1.idm.metrics import true_actions
from steve1.idm.training.settings import IdmTrainSettings

_RARE = 0.01  # share of frames below which a button is rare

_LEFT, _RIGHT = BUTTONS.index("left"), BUTTONS.index("right")

Frames = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class TrueEpisode:
    """An episode with what was pressed: buttons bool (N, 20), camera degrees (N, 2) and bins (N, 2)."""

    episode: Episode
    pressed: NDArray[np.bool_]
    degrees: NDArray[np.float64]
    bins: NDArray[np.int64]
    weight: float
    """Share of its section in the list, divided by the section's frames; 1 without sections."""

    def __len__(self) -> int:
        return len(self.pressed)


def read_episodes(entries: Sequence[ListEntry], window: int) -> tuple[list[TrueEpisode], list[str]]:
    """The episodes of a list with their actions, and notes on those left out.

    Raises:
        UserError: none is left.
    """
    found: list[tuple[ListEntry, TrueEpisode]] = []
    dropped, short, labelled = [], [], []
    for entry in entries:
        episode = Episode(entry.path)
        if is_labelled(episode):
            labelled.append(entry.path.name)
        elif any(known.get("null_frames_dropped") for known in origins(episode.metadata)):
            dropped.append(entry.path.name)
        elif len(episode) < window:
            short.append(entry.path.name)
        else:
            pressed, degrees = true_actions(episode.actions())
            found.append((entry, TrueEpisode(episode, pressed, degrees, to_bins(degrees), 1.0)))
    notes = [
        f"left out, {why}: {some(names)}"
        for why, names in (
            ("their null frames were dropped, so their pace is uneven (convert them with --keep_nulls)", dropped),
            ("their actions are labels, not what was pressed", labelled),
            (f"shorter than a window of {window} frames", short),
        )
        if names
    ]
    if not found:
        raise UserError(
            "No episode of this list can be used.",
            where=entries[0].source or entries[0].path,
            expected=f"episodes of {window} frames and more that keep their null frames",
            got="; ".join(map(translated, notes)),
            todo="NULLS=keep SOURCE=folder RECORDINGS_DIR=… bash 1_generate_dataset.sh",
        )
    frames: Counter[int] = Counter()
    for entry, each in found:
        frames[entry.section] += len(each)
    weighted = [
        dataclasses.replace(each, weight=1.0 if entry.weight is None else entry.weight / frames[entry.section])
        for entry, each in found
    ]
    return weighted, notes


@dataclasses.dataclass(frozen=True)
class IdmBatch:
    """Frames u8 (B, T, 128, 128, 3), buttons i64 (B, T, 20), camera bins i64 (B, T, 2)."""

    frames: Tensor
    buttons: Tensor
    camera: Tensor


class Windows:
    """Draws windows of T frames.

    Args:
        episodes: at least T frames each.
        window: T.
    """

    def __init__(self, episodes: Sequence[TrueEpisode], window: int, settings: IdmTrainSettings) -> None:
        self._episodes, self._window, self._settings = list(episodes), window, settings
        total = sum(len(each) for each in episodes)
        share = np.sum([each.pressed.sum(axis=0) for each in episodes], axis=0) / total
        self.rare = (share > 0) & (share < _RARE)
        """Buttons (20,) that are pressed in less than 1 % of the frames."""
        places = [self._places(number) for number in range(len(self._episodes))]
        self._starts = np.concatenate([starts for starts, _ in places])
        weights = np.concatenate([weight for _, weight in places])
        self._chances = weights / weights.sum()

    def _places(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(episode, first frame) of windows every half window (M, 2), and how often each is drawn (M,)."""
        each, step = self._episodes[number], max(1, self._window // 2)
        starts = np.arange(0, len(each) - self._window + 1, step)
        has_rare = [bool(each.pressed[start : start + self._window, self.rare].any()) for start in starts]
        weight = np.where(has_rare, self._settings.rare_presses, 1.0) * each.weight * len(each) / len(starts)
        return np.stack([np.full(len(starts), number), starts], axis=1), weight

    def load(self, number: int) -> IdmBatch:
        """The windows of the step of this number."""
        settings = self._settings
        rng = generator(settings.seed, "idm windows", number)
        rows = rng.choice(len(self._starts), settings.batch_size, p=self._chances)
        frames, buttons, camera = [], [], []
        for episode, start in self._starts[rows]:
            each, quarter = self._episodes[episode], self._window // 4
            first = int(np.clip(start + rng.integers(-quarter, quarter + 1), 0, len(each) - self._window))
            stop = first + self._window
            shown = each.episode.frames(first, stop)
            if settings.compress and rng.random() < settings.compress:
                shown = through_h264(shown, int(rng.integers(20, 36)))
            pressed, bins = each.pressed[first:stop], each.bins[first:stop]
            if settings.mirror and rng.random() < settings.mirror:
                shown, pressed, bins = mirrored(shown, pressed, bins)
            frames.append(changed(shown, rng) if settings.augment else shown)
            buttons.append(pressed)
            camera.append(bins)
        return IdmBatch(
            torch.from_numpy(np.stack(frames)),
            torch.from_numpy(np.stack(buttons).astype(np.int64)),
            torch.from_numpy(np.stack(camera)),
        )


def mirrored(
    frames: Frames, pressed: NDArray[np.bool_], bins: NDArray[np.int64]
) -> tuple[Frames, NDArray[np.bool_], NDArray[np.int64]]:
    """Frames (T, h, w, 3), buttons (T, 20) and camera bins (T, 2) as a mirror shows them."""
    swapped = pressed.copy()
    swapped[:, [_LEFT, _RIGHT]] = pressed[:, [_RIGHT, _LEFT]]
    turned = bins.copy()
    turned[:, 1] = N_BINS - 1 - bins[:, 1]
    return np.ascontiguousarray(frames[:, :, ::-1]), swapped, turned


def changed(frames: Frames, rng: np.random.Generator) -> Frames:
    """The same small change of colours, rotation, scale, shear and place in all frames (T, h, w, 3)."""
    height, width = frames.shape[1:3]
    angle, shear = np.radians(rng.uniform(-2, 2, 2))
    scale, shift = rng.uniform(0.98, 1.02), rng.uniform(-2, 2, 2)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle + shear)], [math.sin(angle), math.cos(angle + shear)]])
    middle = np.array([width / 2, height / 2])
    place = np.column_stack([turn, middle + shift - turn @ middle]).astype(np.float32)
    colours = _colours(rng)
    out = np.empty_like(frames)
    for number, frame in enumerate(frames):
        moved = cv2.warpAffine(frame, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
        out[number] = cv2.transform(moved, colours)
    return out


def _colours(rng: np.random.Generator) -> NDArray[np.float32]:
    """A matrix (3, 4) that turns the hue by up to a fifth of the circle and changes saturation, contrast and brightness by up to 20 %."""
    hue = rng.uniform(-0.2, 0.2) * 2 * math.pi
    saturation, contrast, brightness = rng.uniform(0.8, 1.2, 3)
    grey = np.full((3, 3), 1 / 3)
    axis = np.ones(3) / math.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = math.cos(hue) * np.eye(3) + math.sin(hue) * cross + (1 - math.cos(hue)) * np.outer(axis, axis)
    matrix = (saturation * np.eye(3) + (1 - saturation) * grey) @ turn * contrast * brightness
    offset = np.full((3, 1), 110.0 * (1 - contrast) * brightness)
    return np.concatenate([matrix, offset], axis=1).astype(np.float32)


def through_h264(frames: Frames, crf: int) -> Frames:
    """Frames (T, h, w, 3) after coding and decoding at this rate factor."""
    height, width = frames.shape[1:3]
    coded = encode_video(frames, width, height, crf=crf, preset="ultrafast")
    return np.stack(list(read_frames_of(io.BytesIO(coded), "a window of training")))


def list_paths(name: str, folder: Path) -> tuple[Path, Path]:
    """The lists for training and for validation."""
    return folder / f"{name}_train.txt", folder / f"{name}_val.txt"
