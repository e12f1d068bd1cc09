"""Tasks by other benchmarks' names: what is evaluated, what is said, and what a wrong name is told."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from steve1.commands.evaluate import evaluate_on_minedojo as command
from steve1.core.errors import UserError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings of each evaluation that the command asks for; nothing is played."""
    seen: list[Any] = []

    def evaluate(settings: Any) -> Any:
        seen.append(settings)
        return types.SimpleNamespace(summary={}, tasks=settings.tasks, paths={"html": Path("report.html")}, film=None)

    monkeypatch.setattr("steve1.evaluation.pipeline.evaluate", evaluate)
    monkeypatch.setattr("steve1.evaluation.report.console.show", lambda summary, tasks, *_: print(f"result of {tasks}"))
    return seen


def test_the_guides_name_maps_to_a_task_and_says_so(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.main(command.Args(weights=("random",), task=("BuildVillageHouse",), env="luanti", episodes=3))
    assert asked[0].tasks == ("build_wall",)
    assert asked[0].episodes == 3
    said = capsys.readouterr().out
    assert "maps to the task build_wall" in said
    assert "not the same task" in said
    assert "result of ('build_wall',)" in said


def test_the_guides_name_is_known_in_minecraft_too(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.main(command.Args(weights=("random",), task=("BuildVillageHouse",), env="mcio"))
    assert asked[0].tasks == ("build_house",)
    assert "maps to the task build_house" in capsys.readouterr().out


def test_several_weights_and_tasks_are_one_evaluation(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.main(
        command.Args(
            weights=("random", "noop", "scripted"),
            task=("BuildVillageHouse", "dig_dirt", "treechop", "wood"),
            env="luanti",
        )
    )
    assert len(asked) == 1
    assert asked[0].tasks == ("build_wall", "dig_dirt", "chop_tree")
    assert asked[0].weights == ("random", "noop", "scripted")
    assert '"dig_dirt" maps' not in capsys.readouterr().out


def test_unknown_names_list_the_nearest(asked: list[Any]) -> None:
    with pytest.raises(UserError) as fault:
        command.main(command.Args(weights=("random",), task=("dig_dirt", "BuildVilageHouse"), env="luanti"))
    assert "BuildVillageHouse" in str(fault.value)
    assert asked == []
