"""Which game weights play in: what was asked for, else the Minecraft that is here, else Luanti."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1 import envs
from steve1.core.family import Family, read_family
from steve1.evaluation.contestants import Contestant, guess_family_env


def test_weights_without_a_family_file_play_in_the_minecraft_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = read_family(tmp_path / "published.weights")
    assert family.env == "minecraft"
    contestant = Contestant("published", "weights", family=family)
    for installed, game in (({}, "luanti"), ({"minerl": "1.0.2"}, "minerl"), ({"mcio": "1.5.2", "minerl": "1.0.2"}, "mcio")):
        monkeypatch.setattr("steve1.envs.backends.installed_version", lambda name, here=installed: here.get(name, ""))
        envs._minecraft_here.cache_clear()
        assert guess_family_env([contestant], "") == game
        assert guess_family_env([contestant], "minedojo") == "minedojo"
        assert guess_family_env([Contestant("mini", "weights", family=Family(env="luanti"))], "") == "luanti"
    envs._minecraft_here.cache_clear()
