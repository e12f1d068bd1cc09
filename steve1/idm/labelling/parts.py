"""The parts in which a video is labelled, one job each, and the frames around a part that its labels depend on."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path

from steve1.core.errors import UserError
from steve1.data.media.video import FPS
from steve1.data.videos.form import length_of
from steve1.idm.label import frames_around
from steve1.idm.labelling.settings import LabelSettings

PART = 6000
"""Frames (five minutes) that one job labels."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Frames first … stop - 1, at 20 a second, of a video; to its end where `stop` is None."""

    name: str  #: of the video
    video: Path
    first: int = 0
    stop: int | None = None
    length: int = PART  #: frames, as far as is known
    within: tuple[int, int | None] = (0, None)  #: first … stop of all that is labelled of the video

    @property
    def key(self) -> str:
        """For the name of its record."""
        return f"{self.name}_{self.first:06d}"

    def with_context(self, window: int) -> tuple[int, int | None]:
        """First and end of the frames that its labels depend on, with windows of this length every half of it."""
        begin, end = self.within
        first, stop = frames_around(self.first - begin, (self.stop or self.first + 1) - begin, window, window // 2)
        reach = None if self.stop is None else begin + stop
        return begin + first, end if reach is None or (end is not None and end < reach) else reach


def parts_of(name: str, video: Path, settings: LabelSettings) -> list[Part]:
    """The parts of a video, by its length; one that cannot be read is one part."""
    seconds = 0.0
    with contextlib.suppress(UserError, OSError):
        seconds = length_of(video)
    first = round(settings.start * FPS)
    last = settings.end if settings.end > 0 else seconds + settings.end
    if not seconds:
        end = round(settings.end * FPS) if settings.end > 0 else None
        return [Part(name, video, first, end, within=(first, end))]
    stop, open_end = math.ceil(min(last, seconds) * FPS), settings.end == 0 or last >= seconds
    if stop <= first and not open_end:
        return [Part(name, video, first, first, 0)]  # labelling says that there is nothing
    starts = list(range(first, max(stop, first + 1), PART))
    if len(starts) > 1 and stop - starts[-1] < PART // 10:  # no part of a few seconds
        starts.pop()
    within = first, None if open_end else stop
    return [
        Part(name, video, start, None if open_end and end == stop else end, end - start, within)
        for start, end in zip(starts, [*starts[1:], stop])
    ]
