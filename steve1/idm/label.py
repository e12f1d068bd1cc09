"""Labels of a whole video: overlapping windows, of which the inner frames count, and every frame encoded once.

Up to its features a frame depends on its four neighbours alone; windows differ in their first two and last two frames, beyond which they see
black. Those four are encoded anew for each window, all others once for all windows that they are in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.actions import EnvAction, null_action
from steve1.actions.buttons import BUTTONS, HOTBAR
from steve1.actions.camera import to_degrees
from steve1.core.errors import UserError
from steve1.idm.config import REACH, IdmConfig

Rule = Literal["aligned", "minestudio"]
# Buttons of which the policy's action space takes one at a time.
_EXCLUSIVE = (("forward", "back"), ("left", "right"), ("sprint", "sneak"), tuple(HOTBAR))


@dataclasses.dataclass(frozen=True)
class WindowOutput:
    """Log-probabilities float32: buttons (B, T, 20, 2) (released, pressed), camera (B, T, 2, 11) (pitch and yaw, bins)."""

    buttons: Tensor
    camera: Tensor


class WindowModel(Protocol):
    """What labelling needs of the model."""

    config: IdmConfig
    encoded: int
    """Frames that have been encoded so far."""
    frames_at_once: int
    """Frames encoded together while a video comes in."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def features(self, frames: Tensor) -> Tensor:
        """Features (N, H) of the inner ones of frames u8 (N + 4, h, w, 3)."""

    def features_of(self, near: Tensor) -> Tensor:
        """Features (N, H) of the middle ones of frames u8 (N, 5, h, w, 3), each with its own neighbours."""

    def heads(self, features: Tensor) -> WindowOutput:
        """Features (B, T, H) of whole windows → log-probabilities."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Log-probabilities of each frame of a video: buttons (N, 20, 2), camera (N, 2, 11), float32.

    Attributes:
        encoded: frames that were encoded for it.
        overlap: int8 (N, 2), buttons and camera: 1 where the two windows that a frame is in differ, 0 where they agree, -1 where it is in one.
    """

    buttons: NDArray[np.float32]
    camera: NDArray[np.float32]
    encoded: int = 0
    overlap: NDArray[np.int8] = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.int8))

    def __getitem__(self, rows: slice) -> Labels:
        """Those of some frames."""
        return Labels(self.buttons[rows], self.camera[rows], self.encoded, self.overlap[rows])

    def pressed(self, thresholds: NDArray[np.float64] | None = None) -> tuple[NDArray[np.bool_], int]:
        """Which buttons are pressed (N, 20), without two that exclude each other, and how often one had to give way.

        Args:
            thresholds: the probability (20,) from which each counts as pressed; None: 0.5.
        """
        found = self.buttons.argmax(axis=2).astype(np.bool_)
        if thresholds is not None:
            found = self.buttons[:, :, 1] >= np.log(thresholds)
        gaveway = 0
        for group in _EXCLUSIVE:
            columns = [BUTTONS.index(name) for name in group]
            clash = found[:, columns].sum(axis=1) > 1
            gaveway += int(clash.sum())
            kept = np.where(found[:, columns], self.buttons[:, columns, 1], -np.inf).argmax(axis=1)
            only = np.zeros((len(found), len(columns)), np.bool_)
            only[np.arange(len(found)), kept] = True
            found[:, columns] = np.where(clash[:, None], only, found[:, columns])
        return found, gaveway

    def actions(self, thresholds: NDArray[np.float64] | None = None) -> list[EnvAction]:
        """MineRL actions, with cameras at the middle of their bins; thresholds as of `pressed`."""
        pressed, _ = self.pressed(thresholds)
        degrees = to_degrees(self.camera.argmax(axis=2))
        return [
            {**null_action(), **{name: int(value) for name, value in zip(BUTTONS, row)}, "camera": camera.tolist()}
            for row, camera in zip(pressed, degrees)
        ]


def window_plan(count: int, window: int, stride: int, rule: Rule) -> list[tuple[int, int, int, int]]:
    """(first frame, end, first kept, end kept) of each window of a video of `count` frames; every frame is kept once.

    aligned: where the grid leaves frames over, one more full window ends with the video. minestudio: the last window begins on the grid and is
    short.
    """
    if count < window or (count == window and rule == "aligned"):
        return [(0, count, 0, count)] if count else []
    margin = (window - stride) // 2
    starts = list(range(0, count - window + 1, stride))
    if rule == "minestudio" and starts[-1] + stride < count:
        starts.append(starts[-1] + stride)
    elif rule == "aligned" and starts[-1] + window < count:
        starts.append(count - window)
    found, kept = [], 0
    for number, start in enumerate(starts):
        end = min(start + window, count)
        kept_end = count if number == len(starts) - 1 else end - margin
        found.append((start, end, kept, kept_end))
        kept = kept_end
    return found


def frames_around(first: int, stop: int, window: int, stride: int) -> tuple[int, int]:
    """The frames (first, end) of a video that labels of its frames first … stop - 1 depend on, where it goes on before and after.

    Labelled by themselves, these frames have the windows that the whole video has there, and so the same labels, wherever windows agree included.
    `end` may lie beyond the video's end.
    """
    margin = (window - stride) // 2
    before = max(0, (first - margin) // stride - 1) * stride
    return before, (max(0, (stop - 1 - margin) // stride) + 1) * stride + window


@torch.inference_mode()
def label(
    model: WindowModel,
    frames: Iterable[NDArray[np.uint8]],
    *,
    stride: int | None = None,
    rule: Rule = "aligned",
) -> Labels:
    """Label a video.

    Args:
        frames: u8 (h, w, 3) RGB of the model's size, one after the other (or one array (N, h, w, 3)); a window of them is held at a time.
        stride: frames from window to window; None: half a window.
        rule: what happens at the end: see `window_plan`.

    Raises:
        UserError: no frame, a frame of another size, or an impossible stride.
    """
    window = model.config.timesteps
    stride = window // 2 if stride is None else stride
    if not 1 <= stride <= window or (window - stride) % 2:
        expected = f"1 to {window}, and an even number of frames less than it"
        raise UserError("This stride does not fit the window.", expected=expected, got=stride)
    before = model.encoded
    streamer = _Streamer(model, window, stride, rule)
    pieces = list(streamer.run(frames))
    if not pieces:
        raise UserError("There is no frame to label.")
    buttons, camera = (np.concatenate(part) for part in zip(*pieces))
    overlap = np.full((len(buttons), 2), -1, np.int8)
    for first, differs in streamer.compared:
        overlap[first : first + len(differs)] = differs
    return Labels(buttons, camera, model.encoded - before, overlap)


Piece = tuple[NDArray[np.float32], NDArray[np.float32]]


class _Streamer:
    """The frames that are still needed, and the features of those whose neighbours have come."""

    def __init__(self, model: WindowModel, window: int, stride: int, rule: Rule) -> None:
        self._model, self._window, self._stride, self._rule = model, window, stride, rule
        self._margin = (window - stride) // 2
        self._frames: dict[int, Tensor] = {}
        self._features: dict[int, Tensor] = {}
        self._encoded_to = REACH  # the first frame whose inner features are not there yet
        self.compared: list[tuple[int, NDArray[np.bool_]]] = []
        """First frame, and whether buttons and camera (N, 2) differ between the two windows that it and the next ones are in."""

    def run(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Piece]:
        """Labels in order, as soon as they are certain."""
        count = start = kept = 0
        tail: tuple[int, Piece] | None = None
        for frame in frames:
            self._take(count, frame)
            count += 1
            if count == start + self._window:
                logs = self._look(start, count)
                self._compare(tail, start, logs)
                stop = count - self._margin
                yield self._cut(logs, kept - start, stop - start)
                tail = start, logs
                kept, start = stop, start + self._stride
                self._forget(min(start, count - self._window))
        if not count or kept == count:
            return
        if tail is not None and self._rule == "aligned":
            last = count - self._window
            logs = tail[1] if last == tail[0] else self._look(last, count)
        else:
            last = start
            logs = self._look(last, count)
        if tail is None or last != tail[0]:
            self._compare(tail, last, logs)
        yield self._cut(logs, kept - last, count - last)

    def _compare(self, earlier: tuple[int, Piece] | None, start: int, logs: Piece) -> None:
        """Note where two windows differ on the frames that both hold."""
        if earlier is not None and (shared := earlier[0] + len(earlier[1][0]) - start) > 0:
            found = [one[-shared:].argmax(-1) != two[:shared].argmax(-1) for one, two in zip(earlier[1], logs)]
            self.compared.append((start, np.stack([differ.any(axis=1) for differ in found], axis=1)))

    def _take(self, number: int, frame: NDArray[np.uint8]) -> None:
        height, width, _ = self._model.config.img_shape
        if frame.dtype != np.uint8 or frame.shape != (height, width, 3):
            expected, got = f"uint8 ({height}, {width}, 3)", f"{frame.dtype} {frame.shape}"
            raise UserError("A frame does not fit the model.", where=f"frame {number}", expected=expected, got=got)
        self._frames[number] = torch.from_numpy(np.ascontiguousarray(frame)).to(self._model.device)
        if number - REACH - self._encoded_to + 1 >= self._model.frames_at_once:
            self._encode_to(number - REACH + 1)

    def _encode_to(self, stop: int) -> None:
        """Features of all frames below `stop` whose four neighbours are there."""
        first = self._encoded_to
        if stop <= first:
            return
        stack = torch.stack([self._frames[number] for number in range(first - REACH, stop + REACH)])
        self._features.update(zip(range(first, stop), self._model.features(stack)))
        self._encoded_to = stop

    def _look(self, start: int, end: int) -> Piece:
        """Log-probabilities of a window."""
        inner = range(start + REACH, end - REACH)
        self._encode_to(inner.stop)
        edges = [number for number in range(start, end) if number not in inner]
        black = torch.zeros_like(self._frames[start])
        stacks = [
            self._frames[near] if start <= near < end else black
            for number in edges
            for near in range(number - REACH, number + REACH + 1)
        ]
        near = torch.stack(stacks).unflatten(0, (len(edges), 2 * REACH + 1))
        found = dict(zip(edges, self._model.features_of(near)))
        features = torch.stack(
            [found[number] if number in found else self._features[number] for number in range(start, end)]
        )
        output = self._model.heads(features[None])
        return output.buttons[0].cpu().numpy(), output.camera[0].cpu().numpy()

    @staticmethod
    def _cut(logs: Piece, start: int, stop: int) -> Piece:
        return logs[0][start:stop], logs[1][start:stop]

    def _forget(self, first: int) -> None:
        """Frames and features before `first` are not needed any more, but for the neighbours of frames not encoded yet."""
        for number in [number for number in self._features if number < first]:
            del self._features[number]
        for number in [number for number in self._frames if number < min(first, self._encoded_to - REACH)]:
            del self._frames[number]
