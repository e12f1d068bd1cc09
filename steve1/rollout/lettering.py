"""Text on frames, Chinese included.

In: a line of text and a height in pixels. Out: its coverage as a small uint8 bitmap, and a function that blends such a
bitmap onto a frame. OpenCV can draw ASCII alone, so Pillow draws; a system font is looked for only when the text
needs one, and where none has its signs, a question mark stands for each.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Where macOS keeps fonts with Chinese signs; Linux is asked through fontconfig.
_MAC_FONTS = (
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Light.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
)


@functools.lru_cache(maxsize=64)
def font_file_for(signs: str) -> str | None:
    """Path of an installed font that has every one of `signs`, or None."""
    if shutil.which("fc-list"):
        charset = " ".join(f"{ord(sign):x}" for sign in sorted(set(signs)))
        try:
            answer = subprocess.run(
                ["fc-list", f":charset={charset}", "file"], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        paths = sorted(line.rstrip().rstrip(":") for line in answer.stdout.splitlines() if line.strip())
        return next((path for path in paths if Path(path).suffix in (".ttf", ".otf", ".ttc")), None)
    return next((path for path in _MAC_FONTS if Path(path).exists()), None)


@functools.lru_cache(maxsize=64)
def _font(path: str | None, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def split_runs(text: str) -> list[tuple[str, str | None]]:
    """Cut `text` into runs of (characters, font file); None is the built-in font, which has Latin letters."""
    foreign = "".join(sorted({sign for sign in text if ord(sign) > 0x17F}))
    path = font_file_for(foreign) if foreign else None
    runs: list[tuple[str, str | None]] = []
    for sign in text:
        home = None
        if ord(sign) > 0x17F:
            home, sign = (path, sign) if path else (None, "?")
        if runs and runs[-1][1] == home:
            runs[-1] = (runs[-1][0] + sign, home)
        else:
            runs.append((sign, home))
    return runs


@functools.lru_cache(maxsize=512)
def letters(text: str, size: int) -> NDArray[np.uint8]:
    """Coverage (0 to 255) of one line of text, shape (height, width), `size` pixels to the letter."""
    runs = [(part, _font(path, size)) for part, path in split_runs(text)]
    width = sum(int(np.ceil(font.getlength(part))) for part, font in runs)
    canvas = Image.new("L", (max(width, 1), int(size * 1.35)), 0)
    draw, x = ImageDraw.Draw(canvas), 0
    for part, font in runs:
        # "ls": the baseline is common to both fonts, whose ascents differ.
        draw.text((x, size * 1.02), part, fill=255, font=font, anchor="ls")
        x += int(np.ceil(font.getlength(part)))
    return np.asarray(canvas, dtype=np.uint8)


def fit(text: str, size: int, width: int) -> str:
    """`text`, shortened with an ellipsis of dots until its letters are no wider than `width` pixels."""
    if letters(text, size).shape[1] <= width:
        return text
    while text and letters(text + "...", size).shape[1] > width:
        text = text[:-1]
    return text.rstrip() + "..."


def blend(frame: NDArray[np.uint8], coverage: NDArray[np.uint8], x: int, y: int, colour: Colour) -> None:
    """Paint `coverage` onto `frame` (in place) with its top left corner at (x, y); what lies outside is cut."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + coverage.shape[0], frame.shape[0]), min(x + coverage.shape[1], frame.shape[1])
    if top >= bottom or left >= right:
        return
    alpha = coverage[top - y : bottom - y, left - x : right - x, None].astype(np.uint16)
    region = frame[top:bottom, left:right]
    paint = np.asarray(colour, dtype=np.uint16)
    region[:] = ((region * (255 - alpha) + paint * alpha + 127) // 255).astype(np.uint8)


def write(frame: NDArray[np.uint8], text: str, x: int, y: int, size: int, colour: Colour = (255, 255, 255)) -> int:
    """Write one line onto `frame` (in place); returns its width in pixels."""
    coverage = letters(text, size)
    blend(frame, coverage, x, y, colour)
    return coverage.shape[1]


def darken(frame: NDArray[np.uint8], x: int, y: int, width: int, height: int, keep: float = 0.4) -> None:
    """Darken a rectangle of `frame` (in place) so that light text on it can be read."""
    region = frame[max(y, 0) : y + height, max(x, 0) : x + width]
    region[:] = (region * keep).astype(np.uint8)
