"""Words in pictures that matplotlib draws, in the user's language where a font on this machine has its letters."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from steve1.core.messages import heading, language, translated

#: fonts with Chinese letters, as Linux, macOS and Windows have them
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "PingFang SC", "Hiragino Sans GB", "Heiti SC", "STHeiti", "Microsoft YaHei", "SimHei", "DengXian", "Arial Unicode MS",
    "Noto Sans CJK JP", "Droid Sans Fallback",
)  # fmt: skip


@functools.cache
def chinese_font() -> str:
    """The first of CHINESE_FONTS that matplotlib finds on this machine; "" where it finds none."""
    from matplotlib import font_manager  # slow to import, and few commands draw

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE_FONTS if name in there), "")


def label(text: str) -> str:
    """A word or line of a picture in the user's language; in English where no font could draw it."""
    return heading(translated(text)) if language() == "zh" and chinese_font() else text


@contextlib.contextmanager
def lettering() -> Iterator[None]:
    """Pictures drawn inside may hold Chinese letters where a font has them. Also a decorator: `@lettering()`."""
    from matplotlib import rc_context  # slow to import, and few commands draw

    chinese = language() == "zh" and chinese_font()
    with rc_context({"font.family": ["DejaVu Sans", chinese]} if chinese else {}):
        yield
