"""MineDojo's own tasks through the evaluation: suites made of them, and the command with its report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from steve1.commands.evaluate import evaluate_on_minedojo
from steve1.core.errors import UserError
from steve1.evaluation.tasks import minedojo
from steve1.evaluation.tasks.suite import load_suite
from tests.envs.leftovers import watch
from tests.envs.standins.making import make_backend

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leftovers are found through /proc")


def test_the_suite_is_made_of_the_packages_own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_backend("minedojo", tmp_path / "env", monkeypatch)
    path = minedojo.write_minedojo_suite(["harvest_milk", "combat"], steps=40, folder=tmp_path)
    assert minedojo.write_minedojo_suite(["harvest_milk", "combat"], steps=40, folder=tmp_path) == path
    suite = load_suite(path)
    assert list(suite.tasks) == ["harvest_milk", "combat_spider_plains_iron_armors_iron_sword_shield"]
    task = suite.find("harvest_milk")
    assert (task.prompts["en"], task.steps, task.env) == ("get milk", 40, "minedojo")
    assert len({each.beginning for each in suite.tasks.values()}) == 2, "each task has a world of its own"
    with pytest.raises(UserError, match="no programmatic task") as fault:
        minedojo.write_minedojo_suite(["harvest_mlik"], folder=tmp_path)
    assert "harvest_milk" in str(fault.value)


@pytest.mark.e2e
def test_a_list_of_tasks_is_evaluated_by_minedojos_own_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_backend("minedojo", tmp_path / "env", monkeypatch)
    monkeypatch.setattr(minedojo, "FOLDER", tmp_path / "suites")
    monkeypatch.setenv("DISPLAY", ":99")  # the stand-in draws nothing
    left = watch(monkeypatch)
    folder = tmp_path / "run"
    args = evaluate_on_minedojo.Args(
        weights=("random", "nothing"),
        task=("harvest_milk", "harvest_1_log"),
        env="minedojo",
        episodes=2,
        steps=25,
        folder=str(folder),
    )
    evaluate_on_minedojo.main(args)
    said = capsys.readouterr().out
    assert "harvest_milk" in said
    assert "--suite" in said
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    solved = {(line["contestant"], name): line["success"][name] for line in lines for name in line["success"]}
    assert solved["random", "harvest_milk"]
    assert not solved["nothing", "harvest_milk"]
    assert not solved["random", "harvest_1_log"]
    assert (folder / "report.html").exists()
    assert left() == []
