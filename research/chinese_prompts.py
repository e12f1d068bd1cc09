"""How well Chinese prompts are understood: `python -m research.chinese_prompts`.

Input: 200 prompts with accepted translations and a reader's verdicts (chinese_prompts.yaml), and weights with their MineCLIP and
prior. Output: the share understood with Wilson's interval, and how near the goals are to those of the English prompts.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from steve1.commands.cli import run
from steve1.core.messages import heading, translated
from steve1.core.paths import resolve
from steve1.evaluation.statistics.tests import wilson
from steve1.goals import GoalEncoder
from steve1.prompts import known_prompts, translate

_PROMPTS = Path(__file__).with_suffix(".yaml")


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure how well Chinese prompts are understood."""

    weights: str = "data/mini/mini.weights"
    """Weights whose MineCLIP and prior make the goals."""
    prompts: str = str(_PROMPTS)
    """YAML list of {zh, en: [accepted …], read, verdict}."""


def main(args: Args) -> None:
    """Count, and compare goals."""
    rows = yaml.safe_load(resolve(args.prompts).read_text(encoding="utf-8"))
    for name in ("right", "part", "wrong"):
        count = sum(row["verdict"] == name for row in rows)
        low, high = wilson(count, len(rows))
        print(
            translated(
                f"{heading(name)}: {count} of {len(rows)} ({100 * low:.0f} to {100 * high:.0f} %), as a reader judged the first translations"
            )
        )
    now = [translate(row["zh"], known_prompts()).english for row in rows]
    changed = [(row, english) for row, english in zip(rows, now) if english != row["read"]]
    matched = sum(accepted(english, row) for row, english in zip(rows, now))
    print(translated(f"word for word as one of the accepted translations: {matched} of {len(rows)} today"))
    for row, english in changed:
        print(translated(f"  changed since: {row['zh']}: {row['read'] or '–'} -> {english}"))
    encoder = GoalEncoder.from_checkpoint(resolve(args.weights))
    ours = _goals(encoder, [english or row["zh"] for row, english in zip(rows, now)])
    theirs = _goals(encoder, [row["en"][0] for row in rows])
    same = np.sum(ours * theirs, axis=1)
    others = ours @ theirs.T
    others = others[~np.eye(len(rows), dtype=bool)]
    for name, values in ((translated("the English prompt's goal"), same), (translated("other prompts' goals"), others)):
        low, middle, high = np.percentile(values, [10, 50, 90])
        print(translated(f"cosine to {name}: median {middle:.3f} (10 to 90 %: {low:.3f} to {high:.3f})"))


def accepted(english: str, row: dict[str, Any]) -> bool:
    """Whether a translation is one of the accepted ones, but for articles, plurals and punctuation."""
    return plain(english) in {plain(text) for text in row["en"]}


def plain(text: str) -> str:
    """A text without articles, plurals and punctuation."""
    words = re.sub(r"[^a-z0-9' -]", " ", text.lower()).split()
    return " ".join(word.removesuffix("s") for word in words if word not in ("a", "an", "the", "some", "then", "your"))


def _goals(encoder: GoalEncoder, texts: list[str]) -> np.ndarray:
    """Unit goals (N,E)."""
    goals = encoder.encode(texts)
    rows = np.stack([goals[text] for text in texts])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


if __name__ == "__main__":
    run(Args, main, "Measure how well Chinese prompts are understood.")
