"""Which game weights play in: what was asked for, else the Minecraft that can be played here, else Luanti."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.core.checkpoint_metadata import CheckpointMetadata, read_checkpoint_metadata
from steve1.envs import registry
from steve1.evaluation.policies import PolicySpec, choose_env
from tests.envs.standins.making import make_java


def test_weights_without_a_metadata_file_play_in_the_minecraft_that_can_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = read_checkpoint_metadata(tmp_path / "published.weights")
    assert metadata.env == "minecraft"
    spec = PolicySpec("published", "weights", metadata=metadata)
    monkeypatch.setenv("STEVE1_MCIO_DIR", str(tmp_path))
    monkeypatch.setenv("STEVE1_JAVA_FOLDERS", "")
    java = make_java(tmp_path / "java")

    def plays(installed: dict[str, str]) -> str:
        monkeypatch.setattr("steve1.envs.minecraft.packages.installed_version", lambda name: installed.get(name, ""))
        registry._minecraft_here.cache_clear()
        assert choose_env([spec], "minedojo") == "minedojo"
        assert choose_env([PolicySpec("mini", "weights", metadata=CheckpointMetadata(env="luanti"))], "") == "luanti"
        return choose_env([spec], "")

    both = {"mcio": "1.5.2", "minerl": "1.0.2"}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert plays({}) == "luanti"
    assert plays(both) == "luanti", "neither Minecraft nor Java is here"
    monkeypatch.setenv("JAVA_HOME", str(java))
    assert plays(both) == "minerl"
    (tmp_path / "mcio.yaml").write_text("instances: {other: {}}\n")
    assert plays(both) == "minerl"
    (tmp_path / "mcio.yaml").write_text("instances: {steve1: {name: steve1}}\n")
    assert plays(both) == "mcio"
    assert plays({"minedojo": "0.1"}) == "luanti", "MineDojo plays tasks of its own alone"
    assert plays({"minedojo": "0.1", "minestudio": "1.1.6"}) == "minestudio"
    registry._minecraft_here.cache_clear()


def test_weights_of_another_game_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_minecraft_here", lambda: "luanti")
    mini = PolicySpec("mini", "weights", metadata=CheckpointMetadata(env="luanti"))
    published = PolicySpec("published", "weights", metadata=CheckpointMetadata(env="minecraft"))
    minerl = PolicySpec("own", "weights", metadata=CheckpointMetadata(env="minerl"))
    random = PolicySpec("random", "random")

    def told(env: str, *policies: PolicySpec) -> list[str]:
        found: list[str] = []
        choose_env(policies, env, found.append)
        return found

    assert told("minerl", mini) == ["mini: these weights were made for luanti, and play in minerl"]
    assert told("", mini, published) == ["published: these weights were made for minecraft, and play in luanti"]
    assert told("luanti", published) == ["published: these weights were made for minecraft, and play in luanti"]
    assert "none can be played here" in told("", published)[0]
    assert told("mcio", published, minerl, random) == told("luanti", mini, random) == told("", random) == []
