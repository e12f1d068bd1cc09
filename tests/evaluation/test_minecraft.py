"""A whole evaluation in Minecraft's place: the real mcio-ctrl plays the stand-in, asked for by the guide's own commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from steve1.core.paths import ROOT
from steve1.envs.registry import find_game
from steve1.evaluation.runner.plan import make_plan
from steve1.evaluation.tasks.suite import load_suite
from tests.envs.leftovers import watch
from tests.envs.minecraft.mcio_home import make_home
from tests.evaluation.worlds import settings

MINI = ROOT / "data" / "mini" / "mini.weights"


def test_the_minecrafts_share_a_suite() -> None:
    for name in ("mcio", "minerl", "minestudio"):
        suite = load_suite(name)
        assert suite.env == name
        assert {task.env for task in suite.tasks.values()} == {name}
        assert {"dig_dirt", "chop_tree", "explore"} <= set(suite.tasks)


@pytest.mark.parametrize("name", ["minerl", "minedojo", "minestudio"])
def test_an_episode_may_start_the_game(world: Path, name: str) -> None:
    """A worker is not replaced while its game still starts within the game's own limits."""
    (world / "suite.yaml").write_text((world / "suite.yaml").read_text().replace("env: luanti", f"env: {name}"))
    limits = find_game(name).limits  # type: ignore[attr-defined]
    plan = make_plan(settings(world, "nothing", env=name))
    assert plan.settings.executor.timeout_s >= limits.start_s + limits.reset_s
    assert make_plan(settings(world, "nothing", env=name, timeout_s=5000.0)).settings.timeout_s == 5000


@pytest.mark.e2e
def test_mini_weights_are_compared_with_random_actions_in_mcio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not MINI.exists():
        pytest.skip("the mini family is not here")
    left = watch(monkeypatch)
    monkeypatch.setenv("STEVE1_MCIO_DIR", str(make_home(tmp_path / "mcio")))
    monkeypatch.setenv("MCIO_STAND_IN", str(tmp_path / "plan.json"))
    monkeypatch.setenv("DISPLAY", os.environ.get("DISPLAY", ":0"))  # the stand-in draws nowhere
    plan = {"log": str(tmp_path / "log.jsonl"), "fault": "dead", "at": 30, "once": str(tmp_path / "struck")}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    suite = tmp_path / "short.yaml"
    suite.write_text(
        "env: mcio\ntasks:\n  dig_dirt:\n    prompts: {en: dig dirt}\n    biome: meadow\n    steps: 12\n    inventory: {dirt: 64}\n"
        "    success: {kind: item_gained, names: [dirt], at_least: 1}\n    measure: {kind: item_gained, names: [dirt]}\n"
    )
    from steve1.__main__ import main as program

    with pytest.raises(SystemExit) as ended:
        argv = [
            "--weights",
            str(MINI),
            "random",
            "--env",
            "mcio",
            "--suite",
            str(suite),
            "--episodes",
            "2",
            "--folder",
            str(tmp_path / "run"),
        ]
        monkeypatch.setattr("sys.argv", ["evaluate", *argv, "--workers", "0"])
        program("evaluate")
    assert ended.value.code == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert sorted((line["contestant"], line["number"], line["steps"]) for line in lines) == [
        (name, number, 12) for name in ("mini", "random") for number in (0, 1)
    ]
    assert sum(line["restarts"] for line in lines) == 1, "the Minecraft that died cost one restart"
    seeds = [json.loads(line)["seed"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(set(seeds)) == 2, "both play in the same worlds"
    assert list((tmp_path / "run").glob("*.html"))
    assert left() == []
