"""Reasons to look at an episode before training on it, each with a weight, its frames and its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from steve1.core.messages import message
from steve1.data.episodes.parts import FIRST_GOAL
from steve1.data.media.motion import LAGS
from steve1.data.quality.duplicates import Pair
from steve1.data.quality.measures import Measures

#: frames (10 s) after which a held button is suspicious; some are held on purpose for up to 60 s
_HOLD = 200
_LONG_HOLD = 1200
_LONG_USE = ("attack", "forward", "sprint", "sneak", "use", "jump")


@dataclass(frozen=True)
class Reason:
    """Why an episode is suspicious.

    Attributes:
        weight: 1.0 and more: probably useless or harmful; 0.5: look at it; less: good to know.
        kind: a word or two; "kind …" of the messages is what people read.
        text: a sentence with numbers.
    """

    weight: float
    kind: str
    text: str

    @property
    def tag(self) -> str:
        """The kind in the user's language."""
        return message(f"kind {self.kind}")


def judge(episodes: Sequence[Measures], pairs: Sequence[Pair]) -> list[list[Reason]]:
    """The reasons against each episode, heaviest first; none for most."""
    found = [list(_own_reasons(episode)) for episode in episodes]
    for pair in pairs:
        for number, twin in ((pair.one, pair.other), (pair.other, pair.one)):
            name = f"{episodes[twin].path.parent.name}/{episodes[twin].name}"
            text = message("reason duplicate", share=f"{pair.share:.0%}", name=name, kind=message(pair.kind))
            found[number].append(Reason(0.9 if "other" in pair.kind else 0.7, "duplicate", text))
    for number, reason in _outliers(episodes):
        found[number].append(reason)
    return [sorted(reasons, key=lambda reason: -reason.weight) for reasons in found]


def _own_reasons(episode: Measures) -> Iterator[Reason]:
    if episode.fault:
        yield Reason(3.0, "broken", episode.fault)
        return
    if episode.goals and episode.goals.bad_rows:
        yield Reason(2.0, "NaN", message("reason NaN", count=episode.goals.bad_rows))
    if episode.frames <= FIRST_GOAL + 16:
        yield Reason(1.0, "short", message("reason short", count=episode.frames))
    yield from _picture_reasons(episode)
    yield from _sync_reasons(episode)
    yield from _button_reasons(episode)
    if episode.gui_share is not None and episode.gui_share > 0.4:
        text = message("reason menu", share=f"{episode.gui_share:.0%}")
        yield Reason(0.5 + episode.gui_share, "menu", text)
    # Where nulls were kept on purpose, standing still is what the episode shows.
    if episode.null_share > (0.95 if episode.metadata.get("keep_nulls") else 0.5):
        text = message("reason idle", share=f"{episode.null_share:.0%}")
        yield Reason(0.3 + 0.5 * episode.null_share, "idle", text)


def _picture_reasons(episode: Measures) -> Iterator[Reason]:
    if episode.black_share > 0.02:
        text = message("reason black", share=f"{episode.black_share:.0%}")
        yield Reason(0.5 + episode.black_share, "black", text)
    if episode.frozen >= 8 and episode.frozen > 0.4 * episode.turning:
        share = episode.frozen / episode.turning
        text = message("reason frozen", share=f"{share:.0%}")
        yield Reason(0.8 + share, "frozen", text)
    length, start = episode.still_run
    if length >= 100 and episode.null_share < 0.9:
        text = message("reason still", seconds=f"{length / 20:.0f}", frame=str(start))
        yield Reason(0.3 + min(0.4, length / episode.frames / 2), "still", text)


def _sync_reasons(episode: Measures) -> Iterator[Reason]:
    if episode.moving < 25 or not np.isfinite(episode.follow).any():
        return
    best = int(np.nanargmax(episode.follow))
    lag, height = LAGS[best], float(episode.follow[best])
    near = float(np.nanmax(episode.follow[[row for row, at in enumerate(LAGS) if abs(at) <= 1]]))
    if abs(lag) > 1 and height > 0.25 and height - near > 0.12:
        side = "late" if lag > 0 else "early"
        text = message(f"reason {side}", frames=abs(lag), best=f"{height:.2f}", near=f"{near:.2f}")
        yield Reason(1.0 + height, "desync", text)
    elif near < 0.08 and episode.moving > 60:
        yield Reason(0.6, "desync", message("reason unrelated", near=f"{near:.2f}"))


def _button_reasons(episode: Measures) -> Iterator[Reason]:
    for name, (length, start) in episode.holds.items():
        on_purpose = name in _LONG_USE
        if length >= (_LONG_HOLD if on_purpose else _HOLD) or (length >= _HOLD and length == episode.frames):
            text = message("reason held", button=name, seconds=f"{length / 20:.0f}", frame=str(start))
            whole = length >= 0.98 * episode.frames
            yield Reason((0.6 if on_purpose else 0.9) + (0.4 if whole else 0.0), "stuck key", text)


def _outliers(episodes: Sequence[Measures]) -> Iterator[tuple[int, Reason]]:
    """Embeddings whose length is unlike that of the others (another MineCLIP, or no picture)."""
    norms = {n: e.goals.mean_norm for n, e in enumerate(episodes) if e.goals and not e.goals.bad_rows}
    if len(norms) < 5:
        return
    values = np.array(list(norms.values()))
    middle = float(np.median(values))
    spread = max(float(np.median(np.abs(values - middle))) * 1.4826, 0.01 * abs(middle), 1e-6)
    for number, value in norms.items():
        if abs(value - middle) > 8 * spread:
            text = message("reason length", length=f"{value:.2f}", middle=f"{middle:.2f}")
            yield number, Reason(0.5, "embedding", text)
