"""Pictures of the prior's analysis: cosines as a heat map, projections to the plane, spread over samples.

Input: the analysis and its material.
Output: PNG files, whole or not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from research.prior_analysis import Material, analyse, by_behaviour, pca, render, thinned, tsne
from steve1.core.files import atomic_file, atomic_path, write_json
from steve1.evaluation.runner.similarity import unit
from steve1.reporting.lettering import label, lettering

_PER_BEHAVIOUR = 60


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as part:
        figure.savefig(part, dpi=120)


@lettering()
def similarity(found: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    """Three heat maps: goals by demonstrations, texts by demonstrations, goals by goals."""
    panels = [
        (label("goal (prior) and demonstrations"), np.array(found["cosine_prior"]), found["behaviours"]),
        (label("text and demonstrations"), np.array(found["cosine_text"]), found["behaviours"]),
        (label("goals among themselves"), np.array(found["between_prompts"]), names),
    ]
    panels = [panel for panel in panels if panel[1].size]
    figure = Figure(figsize=(5.2 * len(panels), 1.8 + 0.36 * len(names)), layout="constrained")
    for axes, (title, table, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        image = axes.imshow(table, cmap="viridis", aspect="auto")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        middle = (table.min() + table.max()) / 2
        for y, x in np.ndindex(*table.shape):
            colour = "black" if table[y, x] > middle else "white"
            axes.text(x, y, f"{table[y, x]:.2f}", ha="center", va="center", fontsize=6, color=colour)
        figure.colorbar(image, ax=axes, shrink=0.8)
    _save(figure, path)


@lettering()
def projections(material: Material, path: Path, *, seed: int = 0, tsne_points: int = 400) -> None:
    """PCA and t-SNE of demonstrations (dots), the prior's samples (crosses, the one that is played ringed) and texts (squares)."""
    groups = by_behaviour(material)
    share = max(5, min(_PER_BEHAVIOUR, tsne_points // max(len(groups), 1)))
    dots = [thinned(group, share) for group in groups.values()]
    drawn = material.samples[:, :6]
    pieces = [*dots, drawn.reshape(-1, drawn.shape[2]), material.text]
    rows = unit(np.concatenate(pieces))
    ends = np.cumsum([len(piece) for piece in pieces])
    flat, held = pca(rows)
    views = [(label(f"PCA ({100 * held.sum():.0f} % of the variance)"), flat), ("t-SNE", tsne(rows, seed=seed))]
    shades = colormaps["tab20"]
    index = {name: number for number, name in enumerate(dict.fromkeys([*groups, *material.behaviours]))}
    figure = Figure(figsize=(15, 6.6), layout="constrained")
    grid = figure.subplots(1, 2)
    for axes, (title, place) in zip(grid, views):
        for number, name in enumerate(groups):
            part = place[(ends[number - 1] if number else 0) : ends[number]]
            axes.scatter(
                *part.T, s=9, alpha=0.55, color=shades(index[name] % 20), label=name or label("(no behaviour)")
            )
        goals = place[ends[-3] if len(pieces) > 2 else 0 : ends[-2]].reshape(len(material.names), drawn.shape[1], 2)
        texts = place[ends[-2] :]
        for number, name in enumerate(material.names):
            tint = shades(index[material.behaviours[number]] % 20)
            axes.scatter(*goals[number].T, marker="x", s=42, color=tint, linewidths=1.6)
            axes.scatter(*goals[number, 0], marker="o", s=150, facecolors="none", edgecolors=[tint])
            axes.scatter(*texts[number], marker="s", s=42, color=tint, edgecolors="black", linewidths=0.7)
            axes.annotate(name, goals[number, 0], fontsize=8, xytext=(6, 5), textcoords="offset points")
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    title = label("demonstrations (dots); x: prior; square: text")
    grid[0].legend(fontsize=7, markerscale=2, title=title, title_fontsize=7)
    _save(figure, path)


@lettering()
def spread(material: Material, found: Mapping[str, Any], path: Path) -> None:
    """Spread of the prior's samples beside that of the demonstrations, by prompt."""
    place = np.arange(len(material.names))
    figure = Figure(figsize=(2 + 0.75 * len(place), 3.6), layout="constrained")
    axes = figure.subplots()
    spreads = [(entry["spread"], entry.get("demonstrations_spread", 0.0)) for entry in found["prompts"]]
    samples, demonstrations = zip(*spreads)
    axes.bar(place - 0.2, samples, 0.4, label=label(f"{material.samples.shape[1]} samples of the prior"))
    axes.bar(place + 0.2, demonstrations, 0.4, label=label("demonstrations"))
    axes.set_xticks(place, material.names, rotation=35, ha="right", fontsize=8)
    axes.set_ylabel(label("1 - mean cosine with the mean"))
    axes.legend(fontsize=8)
    _save(figure, path)


def write_analysis(material: Material, folder: Path, *, seed: int = 0, tsne_points: int = 400) -> dict[str, Path]:
    """Write analysis.json, analysis.md and the pictures; returns {name: path}."""
    found = analyse(material)
    paths = {name: folder / f"{name}.png" for name in ("similarity", "projection", "spread")}
    paths |= {name: folder / f"analysis.{name}" for name in ("json", "md")}
    write_json(paths["json"], found)
    similarity(found, material.names, paths["similarity"])
    projections(material, paths["projection"], seed=seed, tsne_points=tsne_points)
    spread(material, found, paths["spread"])
    with atomic_file(paths["md"], "w") as handle:
        handle.write(render(found))
    return paths
