"""How games side by side share the processors that draw."""

from __future__ import annotations

import os

import pytest

from steve1.envs.worker.resources import RENDERER_THREADS, shared_renderer


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "environ", {})


@pytest.mark.parametrize(("games", "threads"), [(0, None), (1, None), (2, "4"), (3, "2"), (9, "1")])
def test_games_share_the_processors_while_they_play(games: int, threads: str | None) -> None:
    with shared_renderer(games):
        assert os.environ.get(RENDERER_THREADS) == threads
    assert RENDERER_THREADS not in os.environ, "the next run counts anew"


def test_given_back_after_a_fault() -> None:
    with pytest.raises(RuntimeError), shared_renderer(2):
        raise RuntimeError("the game died")
    assert RENDERER_THREADS not in os.environ


def test_a_wish_stays() -> None:
    os.environ[RENDERER_THREADS] = "3"
    with shared_renderer(2):
        assert os.environ[RENDERER_THREADS] == "3"
    assert os.environ[RENDERER_THREADS] == "3", "it is not ours to remove"
