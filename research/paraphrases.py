"""Does a prompt in other words still mean the same task to MineCLIP and the prior, and only that one?

Input: the embeddings of paraphrases of each behaviour (steve1/data/episodes/captions.yaml), and of the tasks' own prompts.
Output: mean cosines within and between behaviours, and the share of paraphrases that are nearest to their own task's prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.messages import heading, message, translated
from steve1.data.episodes.captions import Captions
from steve1.evaluation.runner.similarity import unit
from steve1.evaluation.statistics.tests import wilson
from steve1.mineclip import MineCLIP
from steve1.prior import Prior
from steve1.reporting.page import Block
from steve1.reporting.tables import Table

Rows = NDArray[np.float32]
KINDS = ("prior", "text")


@dataclasses.dataclass(frozen=True)
class Paraphrases:
    """Other words for the tasks that are analysed.

    Attributes:
        texts: the paraphrases (N).
        behaviours: of each of them.
        held_out: whether no recording is captioned with it, so that neither MineCLIP nor the prior was trained on it.
        text: their text embeddings (N, E).
        goals: the goals that the prior makes of them (N, E), as commands play them.
    """

    texts: tuple[str, ...]
    behaviours: tuple[str, ...]
    held_out: tuple[bool, ...]
    text: Rows
    goals: Rows


def embed_paraphrases(
    prompts: Sequence[tuple[str, str, str]],
    table: Mapping[str, Captions],
    mineclip: MineCLIP,
    prior: Prior,
    seed: int,
    middle: bool = False,
) -> Paraphrases | None:
    """The table's texts for the behaviours of (name, behaviour, prompt) triples, without the prompts themselves; None where there are none.

    middle: commands play the middle of the prior's distribution.
    """
    own = {prompt.lower() for _, _, prompt in prompts}
    found = [
        (text, behaviour, text in table[behaviour].held_out)
        for behaviour in dict.fromkeys(behaviour for _, behaviour, _ in prompts if behaviour in table)
        for text in (*table[behaviour].train, *table[behaviour].held_out)
        if text.lower() not in own
    ]
    if not found:
        return None
    texts, behaviours, held_out = zip(*found)
    embedded = [mineclip.encode_text([text]) for text in texts]
    goals = [prior.samples(row, seed, 1, middle)[0].cpu().numpy() for row in embedded]
    rows = np.stack([row[0].cpu().numpy() for row in embedded]).astype(np.float32)
    return Paraphrases(texts, behaviours, held_out, rows, np.stack(goals).astype(np.float32))


def measure_paraphrases(
    said: Paraphrases, behaviours: Sequence[str], prompts: Mapping[str, Rows]
) -> dict[str, dict[str, Any]]:
    """The numbers for the prior's goals ("prior") and for the text embeddings ("text"), as plain data.

    Args:
        behaviours: of the tasks' own prompts (P); "" for a prompt that belongs to none.
        prompts: for each of KINDS, the embeddings of the tasks' own prompts (P, E).

    Returns:
        For each kind: "within", the mean cosine of two paraphrases of one behaviour (mean over behaviours with two and more);
        "between", the mean cosine of two paraphrases of different behaviours; "own" and "held_out", how many of how many
        paraphrases are nearest to a prompt of their own behaviour, of all and of those held out; "tasks", the same for each
        behaviour; "confused", the paraphrases that are nearest to another prompt.
    """
    return {
        kind: _measure(said, behaviours, prompts[kind], said.goals if kind == "prior" else said.text) for kind in KINDS
    }


def _measure(said: Paraphrases, behaviours: Sequence[str], prompts: Rows, rows: Rows) -> dict[str, Any]:
    rows, labels, held = unit(rows), np.array(said.behaviours), np.array(said.held_out)
    cosines = rows @ rows.T
    same, pairs = labels[:, None] == labels[None], np.triu(np.ones_like(cosines, bool), 1)
    nearest = [behaviours[index] for index in (rows @ unit(prompts).T).argmax(axis=1)]
    right = np.array([found == label for found, label in zip(nearest, labels)])
    tasks = {}
    for name in dict.fromkeys(said.behaviours):
        mine = labels == name
        inside = cosines[pairs & mine[:, None] & mine[None]]
        tasks[name] = {
            "within": float(inside.mean()) if inside.size else None,
            "between": _mean(cosines[np.ix_(mine, ~mine)]),
            "own": [int(right[mine].sum()), int(mine.sum())],
        }
    return {
        "within": _mean(np.array([task["within"] for task in tasks.values() if task["within"] is not None])),
        "between": _mean(cosines[pairs & ~same]),
        "own": [int(right.sum()), len(right)],
        "held_out": [int(right[held].sum()), int(held.sum())],
        "tasks": tasks,
        "confused": [
            {"text": text, "behaviour": label, "nearest": found}
            for text, label, found in zip(said.texts, said.behaviours, nearest)
            if found != label
        ],
    }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def render_paraphrases(found: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """The numbers as a table of both kinds and one of the tasks, with what they mean."""
    names = {"prior": heading("goals (prior)"), "text": heading("text embeddings")}
    both = [
        [names[kind], *_cosines(found[kind]), _share(*found[kind]["own"]), _share(*found[kind]["held_out"])]
        for kind in KINDS
    ]
    goals, texts = found["prior"]["tasks"], found["text"]["tasks"]
    tasks = [
        [name, *_cosines(goals[name]), _of(*goals[name]["own"]), *_cosines(texts[name]), _of(*texts[name]["own"])]
        for name in goals
    ]
    wrong = [
        translated(
            f"{each['text']!r} ({each['behaviour']}) is nearest to {each['nearest'] or heading('a prompt of no behaviour')}"
        )
        for each in found["prior"]["confused"]
    ]
    columns = [heading("within"), heading("between"), heading("within - between")]
    measures = [*columns, heading("own")]
    kinds = [heading("goal"), heading("text")]
    listed = "; ".join(wrong[:12]) + (translated(f"; and {len(wrong) - 12} more") if len(wrong) > 12 else "")
    return [
        translated(
            "Robust: paraphrases of one task lie close together (within, the mean cosine of two of them, is high). Discriminable: those of "
            "different tasks lie apart (between is low), and the prompt nearest to a paraphrase is its own task's (own). Held-out paraphrases caption no "
            "recording."
        ),
        Table(["", *columns, heading("own (95 % interval)"), heading("own, held-out paraphrases")], both),
        Table([heading("task"), *(f"{kind}: {each}" for kind in kinds for each in measures)], tasks),
        translated(f"Goals nearer to another task's: {listed}.")
        if wrong
        else translated("Every paraphrase's goal is nearest to its own task's."),
    ]


def _cosines(numbers: Mapping[str, Any]) -> list[str]:
    within, between = numbers["within"], numbers["between"]
    margin = None if within is None or between is None else within - between
    return ["–" if value is None else f"{value:.3f}" for value in (within, between, margin)]


def _of(right: int, count: int) -> str:
    return message("count of", right=right, count=count)


def _share(right: int, count: int) -> str:
    if not count:
        return "–"
    low, high = wilson(right, count)
    share, least, most = (f"{100 * value:.0f}" for value in (right / count, low, high))
    return message("share of", share=share, count=_of(right, count), low=least, high=most)
