"""Where an inverse dynamics model sees the camera turn: `python -m research.idm_camera`.

Input: the validation episodes of a sampling, whose null frames were kept and that begin with a level view, as recordings of Luanti do.
Output: R² of pitch and yaw by behaviour and by how far up or down the player looks: of the most probable bins, which are the labels, and of
the distributions' means. Straight up the picture of an empty sky does not show a turn, straight down a turn rotates the picture.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from steve1.actions.camera import MAX_DEGREES, N_BINS, to_degrees
from steve1.commands.cli import run
from steve1.core.messages import message, progress, translated
from steve1.core.paths import resolve
from steve1.data.loading.lists import read_list
from steve1.idm import load_idm
from steve1.idm.training.windows import TrueEpisode, list_paths, read_episodes
from steve1.reporting.tables import Table
from steve1.rollout.players import BABBLING

LIMITS = (45, 60, 75, 90)


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure how well the camera is labelled, by behaviour and by pitch."""

    idm_model: str = "data/mini/mini_idm.model"
    """The model's sizes."""
    idm_weights: str = "data/mini/mini_idm.weights"
    """The inverse dynamics model."""
    sampling_name: str = "mini_idm"
    """Its validation episodes are labelled."""
    sampling_dir: str = "data/samplings"
    """Folder of the list."""
    leave_out: tuple[str, ...] = tuple(BABBLING)
    """Behaviours that only the table by behaviour has."""
    device: str = "cpu"
    """Device: cpu, cuda or mps."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An episode's behaviour, and degrees of pitch and yaw (N, 2): its camera, the labels', and the means of their distributions."""

    behaviour: str
    degrees: NDArray[np.float64]
    labels: NDArray[np.float64]
    means: NDArray[np.float64]

    @property
    def pitch(self) -> NDArray[np.float64]:
        """Degrees (N,) above (negative) or below the horizon before each frame's move."""
        found, level = np.zeros(len(self.degrees)), 0.0
        for number, move in enumerate(self.degrees[:, 0]):
            found[number], level = level, min(90.0, max(-90.0, level + move))
        return found


def by_behaviour(episodes: list[Labelled]) -> Table:
    """R² of each behaviour's episodes."""
    names = sorted({each.behaviour for each in episodes})
    rows = [_row(name, [each for each in episodes if each.behaviour == name], 90) for name in names]
    return Table(["behaviour", *_HEAD], rows).translated()


def by_pitch(episodes: list[Labelled]) -> Table:
    """R² of the frames in which the player looks at most so far up or down."""
    rows = [_row(f"{limit}°", episodes, limit) for limit in LIMITS]
    return Table(["at most this far up or down", *_HEAD], rows).translated()


_HEAD = ("frames", "R²: pitch, yaw", "together", "of the means: pitch, yaw")


def _row(name: str, episodes: list[Labelled], limit: float) -> list[str]:
    kept = [np.abs(each.pitch) <= limit for each in episodes]
    truth, labels, means = (
        np.concatenate([getattr(each, part)[keep] for each, keep in zip(episodes, kept)])
        for part in ("degrees", "labels", "means")
    )
    whole = np.clip(truth, -MAX_DEGREES, MAX_DEGREES)
    return [
        name,
        f"{len(truth):,}",
        ", ".join(_r2(whole, labels)[:2]),
        _r2(whole, labels)[2],
        ", ".join(_r2(whole, means)[:2]),
    ]


def _r2(truth: NDArray[np.float64], found: NDArray[np.float64]) -> list[str]:
    """Of pitch, of yaw, and of both together."""
    missed, spread = ((found - truth) ** 2).sum(axis=0), ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    missed, spread = (np.append(each, each.sum()) for each in (missed, spread))
    return [f"{1 - one / all_:.2f}" if all_ else "–" for one, all_ in zip(missed, spread)]


def _behaviour(each: TrueEpisode) -> str:
    return str(each.episode.metadata.get("behaviour") or each.episode.path.name)


def main(args: Args) -> None:
    """Label the episodes and print both tables."""
    model = load_idm(args.idm_model, args.idm_weights, device=args.device)
    listed = list_paths(args.sampling_name, resolve(args.sampling_dir))[1]
    episodes, notes = read_episodes(read_list(listed), model.config.timesteps)
    for note in notes:
        print(translated(note))
    found = []
    with progress(total=sum(map(len, episodes)), desc=message("bar labelling"), unit="frame") as bar:
        for each in episodes:
            labels = model.label(iter(each.episode.frames(0, len(each))))
            means = np.exp(labels.camera) @ to_degrees(np.arange(N_BINS))
            found.append(Labelled(_behaviour(each), each.degrees, to_degrees(labels.camera.argmax(2)), means))
            bar.update(len(each))
    print(by_behaviour(found).markdown())
    rest = [each for each in found if each.behaviour not in args.leave_out]
    if rest:
        print("\n" + by_pitch(rest).markdown())


if __name__ == "__main__":
    run(Args, main, "Measure how well the camera is labelled, by behaviour and by how far up or down the player looks.")
