"""Films of an iteration's best-paid and worst-paid episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steve1.data.media.video import VideoWriter, probe, read_frames
from steve1.rl.report.films import film_iteration, films_of, is_filmed
from steve1.rl.settings import RlSettings
from tests.rl.test_preference import rollout


def plain(path: Path, shade: int, frames: int) -> None:
    with VideoWriter(path, 320, 180) as writer:
        for _ in range(frames):
            writer.write(np.full((180, 320, 3), shade, np.uint8))


def test_which_iterations_are_filmed() -> None:
    def filmed(every: int, iterations: int) -> list[int]:
        settings = RlSettings(films_every=every, iterations=iterations)
        return [iteration for iteration in range(iterations) if is_filmed(settings, iteration)]

    assert filmed(RlSettings.films_every, RlSettings.iterations) == [0, 6, 11]
    assert filmed(6, 1) == [0]
    assert filmed(1, 3) == [0, 1, 2]
    assert filmed(0, 12) == []


def test_the_best_and_the_worst_stand_beside_each_other(tmp_path: Path) -> None:
    """The best to the left, with what it was paid; a shorter episode waits at its end."""
    folder = tmp_path / "rollouts" / "000004"
    folder.mkdir(parents=True)
    played = [rollout(number, 0, earned, 12 + number) for number, earned in enumerate([1.0, 3.0, -0.5])]
    for each in played:
        each.parts["env"] = each.reward
        plain(folder / f"{each.key}.mp4", 60 + 80 * int(each.reward.sum() > 2), len(each))
    (folder / "mine.mp4").write_bytes(b"x")
    film_iteration(tmp_path, folder, played, 5, "dig dirt")
    (film,) = films_of(tmp_path)
    assert film.iteration == 5
    assert film.earned["best"] == {"episode": "00-01", "return": 3.0, "parts": {"env": 3.0}, "success": True}
    assert film.earned["worst"] == {"episode": "00-02", "return": -0.5, "parts": {"env": -0.5}, "success": False}
    assert probe(film.path).width == 640
    frames = list(read_frames(film.path))
    assert len(frames) == 14 + 20
    height = frames[0].shape[0]
    left, right = (int(frames[0][height // 2, x].mean()) for x in (250, 570))
    assert left > right + 40
    # What was paid is written below the prompt: brighter than the plain picture there.
    assert frames[3][56:110, :120].max() > left + 60
    # Only the run's own videos of episodes are removed.
    assert [path.name for path in folder.iterdir()] == ["mine.mp4"]
    # Killed before the iteration was saved: the same once more, though the videos are gone.
    film_iteration(tmp_path, folder, played, 5, "dig dirt")
    assert len(films_of(tmp_path)) == 1
    # Somebody's own files are no films.
    for name in ("mine.mp4", "mine.json", "000099.mp4"):
        (tmp_path / "films" / name).write_bytes(b"{}")
    assert len(films_of(tmp_path)) == 1


def test_without_the_videos_there_is_no_film(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts" / "000000"
    folder.mkdir(parents=True)
    played = [rollout(number, 0, float(number), 12) for number in range(2)]
    plain(folder / f"{played[0].key}.mp4", 60, 12)
    film_iteration(tmp_path, folder, played, 1, "dig dirt")
    assert films_of(tmp_path) == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2])
def test_an_iteration_of_one_episode_is_filmed_alone(tmp_path: Path, count: int) -> None:
    played = [rollout(number, 0, 0.0, 12) for number in range(count)]
    for each in played:
        plain(tmp_path / f"{each.key}.mp4", 60, 12)
    film_iteration(tmp_path, tmp_path, played, 1, "dig dirt")
    (film,) = films_of(tmp_path)
    assert probe(film.path).width == 320 * count
    assert len({each["episode"] for each in film.earned.values()}) == count
