"""What a session shows: the newest frame, what is known beside it, what has happened, and its tick latency.

The game's thread writes, the server's reads. A slow reader misses frames; it never holds the game up.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.frames import jpeg_bytes
from steve1.core.messages import message
from steve1.live.protocol import pack, picture

#: of the pictures kept for looking back: ticks between two, how many (an hour), their size
_PAST_EVERY, _PAST_MOST, _PAST_SIZE = 10, 7200, (320, 180)
_LATENESS = 4000
_EVENTS = 500


def tell(line: str) -> None:
    """Print a line, where somebody reads it: a `tee` that Ctrl-C has ended, or a closed terminal, must not end the session, nor look like a dead game."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


@dataclasses.dataclass(frozen=True)
class View:
    """A frame (H, W, 3) u8 with its tick's facts; encoded when somebody wants it, once."""

    number: int
    frame: NDArray[np.uint8]
    facts: dict[str, Any]

    @cached_property
    def encoded(self) -> bytes:
        """The message for the page."""
        return picture({"kind": "frame", **self.facts}, self.frame)


class Screen:
    """The newest view and the session's state, with a number that grows at each change.

    Attributes:
        tick, who: the present tick and who acts, as events note them.
        changed: something happened since the last `set_state`.
    """

    def __init__(self) -> None:
        self.tick, self.who = 0, ""
        self.changed = False
        self._log: IO[str] | None = None
        self.view: View | None = None
        self.state: dict[str, Any] = {}
        self.version = 0
        self._listener: Callable[[], object] = lambda: None
        self._past: deque[tuple[int, bytes]] = deque(maxlen=_PAST_MOST)
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self.notices: deque[dict[str, Any]] = deque(maxlen=30)
        self._noticed = 0
        self._lateness: deque[float] = deque(maxlen=_LATENESS)

    def open_log(self, path: Path) -> None:
        """Write events to this file too, behind what is there."""
        self._log = open(path, "a", encoding="utf-8")  # noqa: SIM115  (until `close`)

    def close(self) -> None:
        """End the log."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk: what comes after it still has to be done
                self._log.close()

    def event(self, kind: str, text: str = "") -> None:
        """Something happened at this tick."""
        event = {"tick": self.tick, "kind": kind, "text": text, "who": self.who}
        self.events.append(event)
        self.changed = True
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk is told of elsewhere
                self._log.write(json.dumps(event, ensure_ascii=False) + "\n")
                self._log.flush()

    def notice(self, level: str, text: str) -> None:
        """Tell people, here and on the page. level: "error", "warning" or "note"."""
        tell(f"{message(level)}: {text}")
        self.changed = True
        self._noticed += 1
        self.notices.append({"number": self._noticed, "level": level, "text": text, "tick": self.tick})

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` (any thread, must return at once) at each change."""
        self._listener = listener

    def show(self, frame: NDArray[np.uint8], facts: dict[str, Any]) -> None:
        """The newest frame, of the present tick."""
        tick = self.tick
        self.view = View(self.view.number + 1 if self.view else 1, frame, {"tick": tick, "who": self.who, **facts})
        if tick % _PAST_EVERY == 0 and (not self._past or self._past[-1][0] < tick):
            self._past.append((tick, jpeg_bytes(cv2.resize(frame, _PAST_SIZE), 70)))  # type: ignore[arg-type]
        self._listener()

    def set_state(self, state: dict[str, Any]) -> None:
        """What changes seldom."""
        self.state, self.version, self.changed = state, self.version + 1, False
        self._listener()

    def past(self, tick: int) -> bytes | None:
        """The message with the picture kept for a tick or shortly before it; None where there is none."""
        kept = list(self._past)
        place = bisect.bisect_right(kept, tick, key=lambda pair: pair[0])
        if not kept:
            return None
        found, jpeg = kept[max(0, place - 1)]
        return pack({"kind": "past", "tick": found}, jpeg)

    def late(self, seconds: float) -> None:
        """A tick began this much after its time."""
        self._lateness.append(seconds)

    def lateness_ms(self) -> tuple[float, float]:
        """Median and 99th percentile of the last ticks' lateness in ms."""
        values = np.array(self._lateness or [0.0]) * 1000
        return float(np.median(values)), float(np.quantile(values, 0.99))
