"""How well labels of videos agree with what was pressed, by the videos' frame rate.

Input: datasets of the same plays, true and labelled, whose null frames were kept. Output: a Markdown table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steve1.actions import BUTTONS, to_bins
from steve1.core.messages import heading, translated
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.idm.metrics import Scores, scores, true_actions
from steve1.reporting.tables import Table

_LEAST = 100  # presses, for an F1 that says something


def agreement(true: Path, labels: Path) -> dict[str, Scores]:
    """Scores of the labels by frame rate ("30 frames/s"), and of "all".

    A labelled episode is a part of a play: its video's name is the end of the true episode's, `first_frame` is where it begins.
    """
    plays = {folder.name: Episode(folder) for folder in find_episodes(true)}
    groups: dict[str, list[tuple[Episode, Episode]]] = {}
    for folder in find_episodes(labels):
        found = Episode(folder)
        film = Path(found.metadata["source"]).stem
        play = next(each for name, each in plays.items() if name == film or name.endswith(f"_{film}"))
        for group in (f"{found.metadata['source_fps']:g} frames/s", "all"):
            groups.setdefault(group, []).append((play, found))
    return {group: _scored(pairs) for group, pairs in sorted(groups.items())}


def table(found: dict[str, Scores]) -> str:
    """As Markdown: a row for each frame rate, and F1 of the buttons that are pressed often enough."""
    names = [name for name in BUTTONS if found and found["all"].button(name).pressed >= _LEAST]
    head = [*map(heading, ("videos of", "frames", "R²: pitch, yaw")), *(f"F1 {name}" for name in names)]
    rows = []
    for group, each in found.items():
        camera = ", ".join(f"{axis.r2:.2f}" for axis in each.camera)
        rows.append([translated(group), f"{each.frames:,}", camera, *(f"{each.button(name).f1:.2f}" for name in names)])
    return Table(head, rows).markdown()


def _scored(pairs: list[tuple[Episode, Episode]]) -> Scores:
    pressed, degrees, labelled, bins = [], [], [], []
    for play, found in pairs:
        first = int(found.metadata["first_frame"])
        truth = true_actions(play.actions()[first : first + len(found)])
        guess = true_actions(found.actions())
        pressed.append(truth[0])
        degrees.append(truth[1])
        labelled.append(guess[0].astype(float))
        bins.append(to_bins(guess[1]))
    ends = np.cumsum([len(each) for each in pressed])[:-1].tolist()
    return scores(
        np.concatenate(labelled), np.concatenate(bins), np.concatenate(pressed), np.concatenate(degrees), ends
    )
