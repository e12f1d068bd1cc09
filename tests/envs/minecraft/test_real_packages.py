"""The packages themselves, where they are installed: our worker in their own Python, as far as that goes without a Minecraft."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.envs import make_env
from steve1.envs.interface import GameDied
from steve1.envs.minecraft.minedojo.tasks import programmatic_tasks
from steve1.envs.minecraft.packages import find_interpreter
from tests.envs.standins.making import make_java


def need(package: str) -> None:
    """Skip where a package has no Python of its own here."""
    try:
        find_interpreter(package)
    except UserError as fault:
        pytest.skip(f"{package} is not installed: {fault.what}")


@pytest.mark.e2e
def test_every_task_of_the_real_minedojo_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("minedojo")
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "java")))  # tells its version and is never started
    tasks = programmatic_tasks()
    assert len(tasks) > 1500
    with make_env("minedojo", task="harvest_milk", headless=False) as env:
        assert env.facts["package"].startswith("minedojo 0.1")
        assert env.call("prompt", task="harvest_milk") == tasks["harvest_milk"]
        assert env.call("port") in env._worker.ports, "the package's own manager chooses among our ports"
        for task, prompt in tasks.items():
            assert env.call("prompt", task=task) == prompt
        with pytest.raises(UserError, match="no programmatic task"):
            env.call("prompt", task="harvest_mlik")


@pytest.mark.e2e
def test_the_real_minestudio_asks_for_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("minestudio")
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "java")))
    monkeypatch.setenv("MINESTUDIO_DIR", str(tmp_path / "engine"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # nothing is downloaded by a test
    with pytest.raises(UserError, match="engine is not there") as fault:
        make_env("minestudio", headless=False)
    assert not isinstance(fault.value, GameDied)
    assert str(tmp_path / "engine") in str(fault.value)
