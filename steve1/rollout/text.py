"""Draws text onto frames, Chinese included.

OpenCV can draw ASCII alone, so Pillow draws. A system font is looked for only when the text needs one; characters that no font has become
question marks.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
_LAST_LATIN = 0x17F
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Where macOS keeps fonts with Chinese characters; Linux is asked through fontconfig.
_MAC_FONTS = (
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Light.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
)


@functools.lru_cache(maxsize=64)
def font_file_for(characters: str) -> str | None:
    """Path of an installed font that has every one of `characters`, or None."""
    if shutil.which("fc-list"):
        charset = " ".join(f"{ord(character):x}" for character in sorted(set(characters)))
        try:
            answer = subprocess.run(
                ["fc-list", f":charset={charset}", "file"], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        paths = sorted(line.rstrip().rstrip(":") for line in answer.stdout.splitlines() if line.strip())
        return next((path for path in paths if Path(path).suffix in (".ttf", ".otf", ".ttc")), None)
    return next((path for path in _MAC_FONTS if Path(path).exists()), None)


@functools.lru_cache(maxsize=64)
def _font(path: str | None, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def split_by_font(text: str) -> list[tuple[str, str | None]]:
    """Cut `text` into runs of (characters, font file); None is the built-in font, which has Latin letters."""
    foreign = "".join(sorted({character for character in text if ord(character) > _LAST_LATIN}))
    path = font_file_for(foreign) if foreign else None
    if path is None:
        text = "".join("?" if character in foreign else character for character in text)
    runs = itertools.groupby(text, key=lambda character: path if ord(character) > _LAST_LATIN else None)
    return [("".join(characters), font) for font, characters in runs]


@functools.lru_cache(maxsize=512)
def text_mask(text: str, size: int) -> NDArray[np.uint8]:
    """Coverage (0 to 255) of one line of text, shape (height, width), `size` pixels to the letter."""
    runs = [(part, _font(path, size)) for part, path in split_by_font(text)]
    width = sum(int(np.ceil(font.getlength(part))) for part, font in runs)
    canvas = Image.new("L", (max(width, 1), int(size * 1.35)), 0)
    draw, x = ImageDraw.Draw(canvas), 0
    for part, font in runs:
        # "ls": the baseline is common to both fonts, whose ascents differ.
        draw.text((x, size * 1.02), part, fill=255, font=font, anchor="ls")
        x += int(np.ceil(font.getlength(part)))
    return np.asarray(canvas, dtype=np.uint8)


@functools.lru_cache(maxsize=512)
def fit_text(text: str, size: int, width: int) -> str:
    """`text`, shortened with "..." until it is no wider than `width` pixels."""
    # A letter is at least a pixel wide; text beyond that is never measured.
    if len(text) <= width and text_mask(text, size).shape[1] <= width:
        return text
    lengths = range(1, min(len(text), width) + 1)
    fitting = bisect.bisect_right(lengths, width, key=lambda length: text_mask(text[:length] + "...", size).shape[1])
    return text[:fitting].rstrip() + "..."


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


def draw_text(frame: NDArray[np.uint8], text: str, x: int, y: int, size: int, colour: Colour = (255, 255, 255)) -> int:
    """Draw one line onto `frame` (in place); returns its width in pixels."""
    coverage = text_mask(text, size)
    blend(frame, coverage, x, y, colour)
    return coverage.shape[1]


def darken(frame: NDArray[np.uint8], x: int, y: int, width: int, height: int, keep: float = 0.4) -> None:
    """Darken a rectangle of `frame` (in place) so that light text on it can be read."""
    region = frame[max(y, 0) : y + height, max(x, 0) : x + width]
    region[:] = (region * keep).astype(np.uint8)
