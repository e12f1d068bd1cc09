"""What `ocap` records, an .mcap and the .mkv that it names, as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.data.exchange.owamcap import DEGREES, Captured, read_mcap
from steve1.data.media.video import FPS, decoded_frames, recorder_size, to_rgb
from steve1.data.recordings.recording import (
    Found,
    Pictures,
    Recording,
    Ticks,
    Timing,
    Tree,
    file_digests,
    whole_degrees,
)

#: seconds by which a picture may come later in the video than its message says
_LATE = 0.002


@dataclass(frozen=True)
class OwaRecording(Recording):
    """name.mcap; its frames are those that are on the screen when each tick of 1/20 s begins."""

    kind = "owamcap"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        files = sorted(
            path for folder in tree.folders for path in folder.glob("*.mcap") if not path.name.startswith(".")
        )
        videos = {path.with_suffix(ending) for path in files for ending in (".mkv", ".mp4")}
        tree.files = [path for path in tree.files if path not in videos]
        tree.odd = [(path, why) for path, why in tree.odd if path not in videos]
        return [cls(tree.name_of(path.with_suffix("")), path) for path in files], []

    @property
    def options(self) -> dict[str, Any]:
        """name-options.json: `mouse_degrees` (of the camera for a count of the mouse), captions."""
        path = self.video.with_name(f"{self.video.stem}-options.json")
        return dict(read_json(path)) if path.exists() else {}

    @property
    def captured(self) -> Captured:
        """Everything but the pictures."""
        degrees = self.options.get("mouse_degrees", DEGREES)
        if isinstance(degrees, bool) or not isinstance(degrees, (int, float)) or not 0 < degrees < 10:
            where = self.video.with_name(f"{self.video.stem}-options.json")
            raise UserError("mouse_degrees is not a valid angle.", where=where, expected=f"degrees for a count of the mouse, such as {DEGREES}", got=degrees)  # fmt: skip
        return _captured(self.video, float(degrees), self.video.stat().st_mtime_ns)

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        actions = [dict(action) for action in self.captured.actions]
        if camera_rounding == "legacy_int":
            whole_degrees(actions)
        return Ticks.of(actions, self.captured.notes)

    @property
    def timing(self) -> Timing:
        return Timing.even(float(FPS), self.expected_frames)

    @property
    def expected_frames(self) -> int:
        return len(self.captured.actions)

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        captured, wanted, shown = self.captured, 0, None
        for frame in decoded_frames(captured.video):
            # A frame is shown until the next one: what is wanted before this one is the last.
            while (
                shown is not None
                and wanted < len(numbers)
                and captured.seconds[numbers[wanted]] + _LATE < (frame.time or 0.0)
            ):
                yield recorder_size(to_rgb(shown))
                wanted += 1
            if wanted == len(numbers):
                return
            shown = frame
        # The last frame is shown on; a video that breaks off before is noticed by its length.
        while (
            shown is not None
            and wanted < len(numbers)
            and captured.seconds[numbers[wanted]] <= (shown.time or 0.0) + 1 / FPS
        ):
            yield recorder_size(to_rgb(shown))
            wanted += 1

    @property
    def warnings(self) -> list[str]:
        width, height = self.captured.size
        return Pictures(width, height).notes if width and height else []

    def digests(self) -> Iterator[tuple[str, str]]:
        return file_digests([self.video, self.captured.video])

    def facts(self) -> dict[str, Any]:
        return {"source_size": list(self.captured.size), "source_fps": FPS}


@lru_cache(maxsize=1)
def _captured(path: Path, degrees: float, changed: int) -> Captured:
    return read_mcap(path, degrees)
