"""HTML elements. Text is escaped when it becomes part of an element, and only there."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

# Elements without content; the shapes of SVG get some where they have a title.
_EMPTY = {"meta", "img", "rect", "line", "path", "polyline", "polygon", "circle"}


class Html(str):
    """Markup. A plain `str` is text and is escaped before it becomes part of markup."""


def join(parts: Iterable[str]) -> Html:
    """Markup and escaped text, one after the other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part, quote=False) for part in parts))


def element(name: str, /, *content: str, **attributes: str | float | bool) -> Html:
    """An element, such as `element("a", "see below", href="#below")`.

    Args:
        content: markup and text.
        attributes: `class_` and `text_anchor` become `class` and `text-anchor`; numbers are rounded to 0.1; True is an
            attribute without a value; "" and False are left out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not False and value != "":
            text = value if isinstance(value, str) else f"{round(value, 1):g}"
            words.append(f'{key}="{html.escape(text)}"')
    tag = " ".join(words)
    if not content and name in _EMPTY:
        return Html(f"<{tag}/>")
    return Html(f"<{tag}>{join(content)}</{name}>")


def each(name: str, items: Iterable[str]) -> Html:
    """One element of that name for each item."""
    return join(element(name, item) for item in items)


def data_url(kind: str, content: bytes) -> str:
    """The address of content that lies in the page itself; `kind` such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def tiles(items: Sequence[Html]) -> Html:
    """Pictures and videos beside each other."""
    return element("div", *items, class_="tiles") if items else Html()


def video(source: str, caption: str, poster: bytes = b"") -> Html:
    """A video with its caption below; `poster`, a JPEG, is shown before it plays."""
    picture, preload = (data_url("image/jpeg", poster), "none") if poster else ("", "metadata")
    film = element(
        "video", controls=True, loop=True, muted=True, playsinline=True, preload=preload, poster=picture, src=source
    )
    return element("figure", film, element("figcaption", caption))
