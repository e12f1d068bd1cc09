"""How games side by side share the processors that draw."""

from __future__ import annotations

import os

import pytest

from steve1.envs.rendering import VARIABLE, share_renderer


def test_games_share_the_processors_and_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "environ", {})
    share_renderer(1)
    assert VARIABLE not in os.environ, "one game has them all"
    share_renderer(3)
    assert os.environ[VARIABLE] == "2"
    share_renderer(8)
    assert os.environ[VARIABLE] == "2", "what stands there is somebody's wish"
