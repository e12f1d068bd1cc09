"""What can be wrong with an episode: findings and their report, and the faults of a packed frame and of an action.

Nothing here raises for what it finds: checking and repairing both need all faults.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import json_lines
from steve1.core.frames import AGENT_SIZE
from steve1.core.messages import message, translated
from steve1.core.paths import display
from steve1.data.media.jpegs import lost_part

_BUTTONS = frozenset(act.ENV_BUTTONS)


@dataclass(frozen=True)
class Finding:
    """One fault of an episode.

    Attributes:
        episode: its folder.
        file: the part with the fault.
        frame: the first frame concerned, None for the whole part.
        what: a sentence.
        expected, got: what should be there and what is.
        warning: True if training can still use the episode.
    """

    episode: str
    file: str
    frame: int | None
    what: str
    expected: str = ""
    got: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = self.file if self.frame is None else translated(f"{self.file}, frame {self.frame}")
        rows = [
            (message(key), translated(text)) for key, text in (("expected", self.expected), ("got", self.got)) if text
        ]
        more = "; ".join(f"{key} {text}" for key, text in rows)
        return f"{place}: {translated(self.what)}" + (f" ({more})" if more else "")


@dataclass
class EpisodeReport:
    """The faults of one episode.

    Attributes:
        path: its folder.
        frames: number of frames; 0 where they are lost.
        embed_dim: E of its embeddings, None without them.
        mineclip: sha256 of the weights that made them; "unknown" where nothing says so, None without embeddings.
        findings: all faults.
    """

    path: Path
    frames: int = 0
    embed_dim: int | None = None
    mineclip: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, file: str, frame: int | None, what: str, expected: Any = "", got: Any = "", *, warning: bool = False
    ) -> None:
        """Note one fault."""
        self.findings.append(Finding(display(self.path), file, frame, what, str(expected), str(got), warning))

    def check_length(self, file: str, what: str, length: int) -> None:
        """Note this fault unless a part has one entry for each frame."""
        if length != self.frames:
            self.add(file, min(length, self.frames), what, self.frames, length)

    @contextlib.contextmanager
    def reading(self, file: str) -> Iterator[None]:
        """Turn an error about a part into a finding."""
        try:
            yield
        except UserError as fault:
            self.add(file, None, fault.what, fault.expected, fault.got)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as fault:
            self.add(file, None, "this part cannot be read", got=f"{type(fault).__name__}: {fault}")

    @property
    def sound(self) -> bool:
        """No fault; warnings do not count."""
        return all(finding.warning for finding in self.findings)


def frame_fault(jpeg: NDArray[np.uint8]) -> str:
    """Why a packed frame (bytes, uint8 (n,)) is broken, "" if it is sound."""
    data = jpeg.tobytes()
    if fault := lost_part(data):
        return fault
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        frames = decoder.decode(av.Packet(data)) + decoder.decode(None)  # type: ignore[attr-defined]
    except (FFmpegError, ValueError) as fault:
        return f"it does not decode: {getattr(fault, 'strerror', None) or fault}"
    if not frames or frames[0].is_corrupt:
        return "it does not decode"
    if (frames[0].height, frames[0].width) != AGENT_SIZE:
        return f"it is {frames[0].width}x{frames[0].height} pixels"
    return ""


def split_pack(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Offsets i64 (M+1,) of packed frames whose index is lost, found by the JPEG start marker."""
    starts = np.flatnonzero((data[:-2] == 0xFF) & (data[1:-1] == 0xD8) & (data[2:] == 0xFF))
    return np.append(starts, len(data)).astype(np.int64)


def action_fault(action: Any) -> str:
    """Why this is not a MineRL action, "" if it is one."""
    if not isinstance(action, dict):
        return f"it is a {type(action).__name__}"
    unknown = sorted(set(action) - _BUTTONS - {"camera"})
    if unknown:
        return f"unknown keys {', '.join(map(str, unknown[:3]))}"
    for name in action.keys() & _BUTTONS:
        try:
            value = np.asarray(action[name])
        except ValueError:  # lists within lists, of different lengths
            return f"{name} is neither 0 nor 1"
        if value.size != 1 or value.dtype.kind not in "biuf" or float(value.reshape(-1)[0]) not in (0.0, 1.0):
            return f"{name} is neither 0 nor 1"
    try:
        camera = np.asarray(action["camera"], dtype=np.float64).reshape(-1)
    except KeyError:
        return "it has no camera"
    except (TypeError, ValueError):
        return "its camera is not two numbers"
    if camera.shape != (2,) or not all(map(math.isfinite, camera.tolist())):
        return "its camera is not two finite numbers"
    return ""


def read_action_lines(path: Path) -> Iterator[tuple[act.EnvAction | None, str]]:
    """Each line of actions.jsonl as (action, "") or (None, the fault); a missing file has no lines."""
    if path.exists():
        for _, action, broken in json_lines(path):
            fault = f"not JSON: {broken}" if broken else action_fault(action)
            yield (None if fault else action), fault
