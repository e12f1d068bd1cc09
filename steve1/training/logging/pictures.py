"""Pictures of a run: a contact sheet of a batch (frames with their actions and goal frames), and bars of recorded and sampled actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.actions import NULL_CAMERA, to_env
from steve1.core.files import atomic_path
from steve1.core.frames import AGENT_SIZE
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.replay import pack_of
from steve1.reporting.lettering import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CAPTION = 16
_GAP = 6


def contact_sheet(batches: Iterable[dict[str, Any]], *, rows: int = 4, columns: int = 6) -> NDArray[np.uint8]:
    """Picture of `rows` windows with a goal, `columns` frames of each, u8 (H,W,3) RGB; where the batches have fewer, of windows without.

    Args:
        batches: read until there are enough, each as `data.batches` gives it: frames (B,T,128,128,3), goal_frame (B,T), buttons, camera, lists
            episode and start. Windows of a replay pack have no pictures, and are left out.
    """
    windows: dict[bool, list[tuple[dict[str, Any], int]]] = {True: [], False: []}
    for batch in batches:
        for row, path in enumerate(batch["episode"]):
            if "frames" in batch or pack_of(Path(path)) is None:
                windows[bool(batch["goals"][row].any())].append((batch, row))
        if len(windows[True]) >= rows:
            break
    shown = [*windows[True], *windows[False]][:rows]
    if not shown:
        return np.full((_CAPTION, AGENT_SIZE[0] * columns, 3), 255, np.uint8)
    times = np.linspace(0, shown[0][0]["goals"].shape[1] - 1, columns).round().astype(int).tolist()
    return np.concatenate([np.concatenate([_cell(batch, row, time) for time in times], axis=1) for batch, row in shown])


def _cell(batch: dict[str, Any], row: int, time: int) -> NDArray[np.uint8]:
    """One frame with its action, above its goal frame."""
    number = int(batch["start"][row]) + time
    if "frames" in batch:
        frame = batch["frames"][row, time].numpy()
    else:  # features from the cache: the picture lies in the episode
        frame = Episode(batch["episode"][row]).frames(number, number + 1)[0]
    goal = int(batch["goal_frame"][row, time])
    # An unconditional window has no goal frame, and its vector is zero; a fixed goal has no frame either.
    if goal >= 0:
        shown = Episode(batch["episode"][row]).frames(goal, goal + 1)[0]
        below = f"goal {goal} (+{goal - number})"
    else:
        shown = np.full_like(frame, 40)
        below = "goal: none" if not batch["goals"][row, time].any() else "goal: fixed"
    buttons, camera = (batch[name][row, time : time + 1].numpy() for name in ("buttons", "camera"))
    action = to_env(buttons, camera)[0]
    held = [name for name, value in action.items() if name != "camera" and value]
    if int(camera[0]) != NULL_CAMERA:
        pitch, yaw = action["camera"]
        held.append(f"{pitch:+.0f}/{yaw:+.0f}")
    above, width = " ".join([str(number), *held]), frame.shape[1]
    cell = np.concatenate([_caption(above, width), frame, _caption(below, width), shown])
    return np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((_CAPTION, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (2, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def actions_picture(
    buttons: dict[str, tuple[float, float]], camera: dict[str, list[tuple[float, float, float]]]
) -> NDArray[np.uint8]:
    """Bars of recorded actions (dark) and of those that the policy would sample (light), u8 (H,W,3) RGB.

    Args:
        buttons: shares of frames, (recorded, policy), by button.
        camera: (degrees, recorded, policy) of each bin, by axis.
    """
    shown = [(name, *shares) for name, shares in buttons.items() if max(shares) >= 0.001]
    panels = {"buttons, share of frames": shown}
    for axis, bins in camera.items():
        panels[f"{axis}, degrees a tick"] = [
            (f"{degrees:+.1f}", recorded, policy) for degrees, recorded, policy in bins
        ]
    rows = max(len(bars) for bars in panels.values())
    return np.concatenate([_bars(title, bars, rows) for title, bars in panels.items()], axis=1)


def _bars(title: str, bars: list[tuple[str, float, float]], rows: int) -> NDArray[np.uint8]:
    """A panel with a pair of bars a row; the text beside them is (recorded / policy) in percent."""
    step, left, long, right = 26, 72, 150, 92
    panel = np.full((30 + step * rows, left + long + right, 3), 255, np.uint8)

    def write(text: str, x: int, y: int) -> None:
        cv2.putText(panel, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (30, 30, 30), 1, cv2.LINE_AA)

    write(title + " (recorded / policy)", 4, 16)
    largest = max([1e-9, *(max(recorded, policy) for _, recorded, policy in bars)])
    for row, (name, recorded, policy) in enumerate(bars):
        top = 28 + step * row
        write(name, 4, top + 15)
        for offset, value, colour in ((0, recorded, (40, 60, 110)), (10, policy, (245, 150, 60))):
            end = left + round(long * value / largest)
            cv2.rectangle(panel, (left, top + offset + 1), (end, top + offset + 9), colour, -1)
        write(f"{100 * recorded:.1f} / {100 * policy:.1f} %", left + long + 4, top + 14)
    return panel


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture, u8 (H,W,3) RGB."""
    with atomic_path(path) as part:
        done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if done:
            part.write_bytes(data.tobytes())


@contextmanager
def line_plot(path: Path, title: str, xlabel: str, ylabel: str) -> Iterator[Axes]:
    """Axes to draw labelled lines on; written as a PNG at the end."""
    from matplotlib import pyplot, use  # slow to import, and few commands draw

    use("Agg")
    with lettering():
        figure, axes = pyplot.subplots(figsize=(7, 4))
        yield axes
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.legend()
        figure.tight_layout()
        with atomic_path(path) as part:
            figure.savefig(part, dpi=120)
        pyplot.close(figure)
