"""The prior alone, without a game: does what it makes of a text look like demonstrations of that text?

Input: prompts, a checkpoint's MineCLIP and prior, embedded demonstrations.
Output: cosines between prompts' goals and demonstrations, projections to the plane, spread over samples,
the nearest demonstrations, and what paraphrases do; pictures, JSON, and a Markdown page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.paraphrases import Paraphrases, embed_paraphrases, measure_paraphrases, render_paraphrases
from steve1.core.errors import UserError
from steve1.core.messages import heading, message, translated
from steve1.core.seeds import generator
from steve1.data.episodes.captions import Captions
from steve1.evaluation.demonstrations import VisualPrompt, typical
from steve1.evaluation.runner.similarity import unit
from steve1.mineclip import MineCLIP
from steve1.prior import Prior
from steve1.reporting.page import Block, Report, Section
from steve1.reporting.tables import Table

Rows = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Material:
    """What is analysed.

    Attributes:
        names: of the prompts (tasks' names, or the prompts themselves), with their behaviour ("" if nobody shows it).
        prompts: the texts.
        text: their embeddings (P, E).
        samples: the prior's goals (P, S, E); sample 0 is the one that commands play.
        shown: demonstrations.
        said: other words for the prompts; None if there are none.
    """

    names: tuple[str, ...]
    behaviours: tuple[str, ...]
    prompts: tuple[str, ...]
    text: Rows
    samples: NDArray[np.float32]
    shown: tuple[VisualPrompt, ...]
    said: Paraphrases | None = None


def prepare(
    prompts: Sequence[tuple[str, str, str]],
    mineclip: MineCLIP,
    prior: Prior,
    shown: Sequence[VisualPrompt],
    *,
    samples: int = 32,
    seed: int = 0,
    captions: Mapping[str, Captions] | None = None,
    middle: bool = False,
) -> Material:
    """Embed (name, behaviour, prompt) triples, and the captions of their behaviours as paraphrases, and draw the prior's samples.

    middle: commands play the middle of the prior's distribution (`prior_code`), which takes the first sample's place.

    Raises:
        UserError: no prompts, fewer than two samples, or MineCLIP and prior of different widths.
    """
    if not prompts or samples < 2:
        raise UserError(
            "The analysis needs prompts, and at least two samples of each.",
            got=f"{len(prompts)} prompts, {samples} samples",
        )
    if mineclip.embed_dim != prior.embed_dim:
        raise UserError(
            "MineCLIP and the prior do not belong together.",
            expected=f"a prior of width {mineclip.embed_dim}",
            got=prior.embed_dim,
        )
    names, behaviours, texts = zip(*prompts)
    embedded = [mineclip.encode_text([text]) for text in texts]
    drawn = np.stack([prior.samples(row, seed, samples).cpu().numpy() for row in embedded]).astype(np.float32)
    if middle:
        drawn[:, 0] = np.stack([prior.samples(row, seed, 1, True)[0].cpu().numpy() for row in embedded])
    text = np.stack([row[0].cpu().numpy() for row in embedded]).astype(np.float32)
    said = embed_paraphrases(prompts, captions or {}, mineclip, prior, seed, middle)
    return Material(tuple(names), tuple(behaviours), tuple(texts), text, drawn, tuple(shown), said)


def by_behaviour(material: Material) -> dict[str, list[VisualPrompt]]:
    """Demonstrations by behaviour, in order of name."""
    found: dict[str, list[VisualPrompt]] = {}
    for each in sorted(material.shown, key=lambda shown: shown.behaviour):
        if len(each.goals):
            found.setdefault(each.behaviour, []).append(each)
    return found


def mean_cosines(rows: Rows, groups: Mapping[str, Sequence[VisualPrompt]]) -> NDArray[np.float64]:
    """Mean cosine of each row (P, E) with all moments of each group, (P, groups)."""
    # The mean of cosines is the cosine with the mean of unit vectors times its length.
    means = [unit(np.concatenate([each.goals for each in group])).mean(axis=0) for group in groups.values()]
    return np.asarray(unit(rows) @ np.stack(means).T, dtype=np.float64) if means else np.zeros((len(rows), 0))


def pca(rows: Rows, dimensions: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(coordinates (N, dimensions), share of the variance that each dimension holds)."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is arbitrary; its largest entry positive makes it the same everywhere.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return centred @ axes[:dimensions].T, (scale**2 / max(float((scale**2).sum()), 1e-12))[:dimensions]


def tsne(rows: Rows, *, perplexity: float = 20.0, steps: int = 400, seed: int = 0) -> NDArray[np.float64]:
    """Coordinates (N, 2) by t-SNE, exact, for some hundreds of rows; the same for the same rows and seed.

    Raises:
        UserError: fewer than 5 rows.
    """
    if len(rows) < 5:
        raise UserError("t-SNE needs at least 5 points.", got=len(rows))
    near = _affinities(rows.astype(np.float64), min(perplexity, (len(rows) - 1) / 3))
    place = 1e-4 * generator(seed, "t-SNE").standard_normal((len(rows), 2))
    speed, gain = np.zeros_like(place), np.ones_like(place)
    for step in range(steps):
        early = step < steps // 4
        offset = place[:, None] - place[None]
        closeness = 1 / (1 + (offset**2).sum(axis=2))
        np.fill_diagonal(closeness, 0)
        share = closeness / max(closeness.sum(), 1e-12)
        pull = ((4.0 if early else 1.0) * near - share) * closeness
        slope = 4 * (pull[:, :, None] * offset).sum(axis=1)
        gain = np.maximum(np.where(np.sign(slope) == np.sign(speed), gain * 0.8, gain + 0.2), 0.01)
        speed = (0.5 if early else 0.8) * speed - max(len(rows) / 4, 10.0) * gain * slope
        place = place + speed - (place + speed).mean(axis=0)
    return place


def _affinities(rows: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Symmetric neighbour probabilities (N, N), each row's width found by bisection so that its perplexity is met."""
    square = (rows**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None] - 2 * rows @ rows.T, 0)
    np.fill_diagonal(distance, np.inf)
    low, high = np.full(len(rows), 1e-12), np.full(len(rows), 1e12)
    shifted = distance - distance.min(axis=1, keepdims=True)
    for _ in range(80):
        width = np.sqrt(low * high)
        weights = np.exp(-np.where(np.isfinite(shifted), shifted * width[:, None], np.inf))
        share = weights / weights.sum(axis=1, keepdims=True)
        entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)
        broad = entropy > np.log(perplexity)
        low, high = np.where(broad, width, low), np.where(broad, high, width)
    return (share + share.T) / (2 * len(rows))


def thinned(shown: Sequence[VisualPrompt], most: int) -> Rows:
    """At most `most` moments, evenly over all."""
    rows = np.concatenate([each.goals for each in shown])
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]


def nearest(goal: Rows, shown: Sequence[VisualPrompt], count: int = 3) -> list[dict[str, Any]]:
    """The demonstrations whose best moment is nearest to `goal` (E,): source, frame, behaviour, cosine; one moment of each."""
    found: list[dict[str, Any]] = []
    for each in shown:
        if len(each.goals):
            cosine = unit(each.goals) @ unit(goal)
            best = int(cosine.argmax())
            place = {"source": each.source, "frame": int(each.frames[best]), "behaviour": each.behaviour}
            found.append({**place, "cosine": float(cosine[best])})
    return sorted(found, key=lambda entry: -entry["cosine"])[:count]


def analyse(material: Material) -> dict[str, Any]:
    """Everything that can be said in numbers; plain data."""
    groups = by_behaviour(material)
    goals = material.samples[:, 0]
    cosines = {"prior": mean_cosines(goals, groups), "text": mean_cosines(material.text, groups)}
    prompts = []
    for index, name in enumerate(material.names):
        own = material.behaviours[index]
        text, goal = material.text[index], goals[index]
        entry: dict[str, Any] = {
            "name": name,
            "prompt": material.prompts[index],
            "behaviour": own,
            "spread": spread(material.samples[index]),
            "norm": float(np.linalg.norm(goal)),
            "text_norm": float(np.linalg.norm(text)),
            "text_to_goal": float(unit(text) @ unit(goal)),
            "nearest": nearest(goal, material.shown),
        }
        if own in groups:
            column = list(groups).index(own)
            for kind, table in cosines.items():
                entry[f"{kind}_own"] = float(table[index, column])
                entry[f"{kind}_rank"] = int((table[index] > table[index, column]).sum()) + 1
            entry["goal_to_shown"] = float(unit(goal) @ unit(typical(groups[own])[0]))
            entry["demonstrations_spread"] = spread(thinned(groups[own], 2000))
        prompts.append(entry)
    said = material.said
    return {
        "behaviours": list(groups),
        "prompts": prompts,
        "paraphrases": measure_paraphrases(said, material.behaviours, {"prior": goals, "text": material.text})
        if said
        else None,
        "between_prompts": (unit(goals) @ unit(goals).T).tolist(),
        "between_texts": (unit(material.text) @ unit(material.text).T).tolist(),
        "cosine_prior": cosines["prior"].tolist(),
        "cosine_text": cosines["text"].tolist(),
    }


def spread(rows: Rows) -> float:
    """One minus the mean cosine of rows (N, E) with their mean direction."""
    return 1 - float((unit(rows) @ unit(unit(rows).mean(axis=0))).mean())


def render(found: Mapping[str, Any]) -> str:
    """The numbers as Markdown."""
    count = len(found["behaviours"])
    rows = []
    for entry in found["prompts"]:
        known = "prior_own" in entry
        ranks = [
            message("rank among", cosine=f"{entry[f'{kind}_own']:.2f}", rank=entry[f"{kind}_rank"], count=count)
            if known
            else "–"
            for kind in ("prior", "text")
        ]
        first = entry["nearest"][0] if entry["nearest"] else None
        near = "–"
        if first:
            near = message("nearest moment", **{**first, "cosine": f"{first['cosine']:.2f}"})
        spreads = f"{entry['spread']:.3f}" + (f" / {entry['demonstrations_spread']:.3f}" if known else "")
        lengths = f"{entry['norm']:.1f} / {entry['text_norm']:.1f}"
        rows.append([entry["name"], entry["prompt"], *ranks, f"{entry['text_to_goal']:.2f}", lengths, spreads, near])
    head = [
        "prompt of",
        "text",
        "goal to own demonstrations",
        "text to own demonstrations",
        "text to goal",
        "length goal / text",
        "spread samples / demonstrations",
        "nearest demonstration",
    ]
    wrong = [entry["name"] for entry in found["prompts"] if entry.get("prior_rank", 1) > 1]
    verdict = translated("Every goal whose behaviour is shown is nearest to demonstrations of its own.")
    if wrong:
        verdict = translated(
            f"The goals of {', '.join(wrong)} are nearer to demonstrations of something else than to their own: look at the prior there first."
        )
    blocks: list[Block] = [
        verdict,
        Table(head, rows).translated(),
        translated(
            "Mean cosines with all moments of the demonstrations of a behaviour, and the own one's rank among all behaviours. Spread: one minus the mean cosine with the "
            "mean direction; a prior whose samples spread far less than demonstrations do has collapsed to one goal for each text."
        ),
        "![cosines](similarity.png)",
        "![projections](projection.png)",
        "![spread](spread.png)",
    ]
    sections = [Section("", blocks)]
    if found["paraphrases"]:
        sections.append(Section(heading("Paraphrases"), render_paraphrases(found["paraphrases"])))
    return Report(heading("The prior alone"), sections).markdown()
