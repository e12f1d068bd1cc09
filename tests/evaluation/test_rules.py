"""Success rules on made-up episodes, the tempting wrong ones included; the suite's file; bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.evaluation.rules import KINDS, parse_condition, parse_rule
from steve1.evaluation.suite import load_suite
from steve1.rollout.trace import Trace


def trace(
    n: int = 300, *, x: Any = 0.0, y: Any = 10.0, z: Any = 0.0, pitch: Any = 0.0, wet: Any = False,
    **counts: dict[str, Any],
) -> Trace:  # fmt: skip
    def column(value: Any, kind: type) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=kind), (n + 1,)).copy()

    named = {kind: {name: column(value, np.int64) for name, value in counts.get(kind, {}).items()} for kind in ("inventory", "dug", "placed", "crafted")}
    return Trace(
        tokens=np.zeros((n, 2), dtype=np.int64),
        positions=np.stack([column(v, float) for v in (x, y, z)], axis=1),
        view=np.stack([column(pitch, float), np.zeros(n + 1)], axis=1),
        in_water=column(wet, bool),
        health=np.full(n + 1, 20.0),
        counts=named,
    )


def ramp(n: int, top: int, begin: int = 0, end: int | None = None) -> np.ndarray:
    """0 … top, climbing evenly between two states."""
    steps = np.arange(n + 1)
    return np.clip((steps - begin) * top // max((end or n) - begin, 1), 0, top)


SUITE = load_suite("luanti")


def won(task: str, episode: Trace) -> bool:
    return SUITE.tasks[task].judge(episode)[0]


def test_digging_counts_what_is_gained_over_the_start() -> None:
    dug = ramp(300, 4)
    assert won("dig_dirt", trace(inventory={"dirt": 20 + dug}, dug={"grass_block": np.minimum(dug, 1), "dirt": np.maximum(dug - 1, 0)}))
    assert not won("dig_dirt", trace(inventory={"dirt": 20 + ramp(300, 3)}, dug={"dirt": ramp(300, 3)}))
    assert not won("dig_dirt", trace(inventory={"dirt": 20}, dug={})), "the starting inventory is no success"


def test_placing_and_digging_again_is_not_digging() -> None:
    # Five blocks placed, then the same five dug: the inventory is back where it began.
    placed, dug = ramp(300, 5, 0, 100), ramp(300, 5, 150, 300)
    assert not won("dig_dirt", trace(inventory={"dirt": 20 - placed + dug}, dug={"dirt": dug}, placed={"dirt": placed}))
    assert not won("dig_dirt", trace(inventory={"dirt": 20 + dug}, dug={"stone": dug})), "gained without digging dirt"


def test_names_are_exact() -> None:
    assert not won("chop_tree", trace(inventory={"apple_log": ramp(300, 5), "logs": ramp(300, 5)}))
    assert won("chop_tree", trace(inventory={"log": ramp(300, 1)}))
    assert not won("chop_tree", trace(inventory={"log": 3}))


def test_sky_is_judged_by_the_last_third_alone() -> None:
    steps = np.arange(301)
    assert won("look_at_sky", trace(pitch=np.where(steps > 195, -70.0, 40.0)))
    assert not won("look_at_sky", trace(pitch=np.where(steps < 190, -90.0, 10.0)))
    assert not won("look_at_sky", trace(pitch=-49.0))
    assert not won("look_at_sky", trace(pitch=70.0)), "looking down is not up"


def test_explore_is_distance_and_not_path() -> None:
    assert won("explore", trace(x=np.linspace(0, 20, 301), z=np.linspace(0, 20, 301)))
    round_and_round = 8 * np.sin(np.linspace(0, 40, 301))
    assert not won("explore", trace(x=round_and_round))
    assert not won("explore", trace(y=10 - np.linspace(0, 60, 301))), "falling is not exploring"


def test_swimming_counts_only_in_water() -> None:
    walk = np.linspace(0, 30, 301)
    assert won("swim", trace(x=walk, wet=np.arange(301) > 150))
    assert not won("swim", trace(x=walk))
    assert not won("swim", trace(wet=True)), "floating on the spot is not swimming"
    assert not won("swim", trace(x=walk, wet=np.arange(301) > 250))


def pillar_heights(blocks: int, at: int = 60, every: int = 40, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    placed = np.clip((np.arange(n + 1) - at) // every + 1, 0, blocks)
    return 10.0 + placed, placed


def test_a_pillar_is_height_on_own_blocks() -> None:
    y, placed = pillar_heights(3)
    assert won("build_pillar", trace(y=y, placed={"dirt": placed}))
    y, placed = pillar_heights(2)
    assert not won("build_pillar", trace(y=y, placed={"dirt": placed}))


def test_no_pillar_by_hill_jump_or_by_blocks_alone() -> None:
    y, placed = pillar_heights(5)
    assert not won("build_pillar", trace(y=10.0, placed={"dirt": placed})), "blocks placed on the ground"
    assert not won("build_pillar", trace(y=y, x=np.linspace(0, 40, 301), placed={"dirt": placed})), "walking up a hill"
    assert not won("build_pillar", trace(y=y)), "risen with nothing placed"
    # Two blocks and a jump on top: above three nodes for a moment only.
    y, placed = pillar_heights(2)
    y[280:286] += 1.25
    assert not won("build_pillar", trace(y=y, placed={"dirt": placed}))
    # Down a hole first, and up again to where it began.
    y, placed = pillar_heights(3, at=150)
    assert not won("build_pillar", trace(y=np.where(np.arange(301) > 50, y - 3.0, 10.0), placed={"dirt": placed}))


def test_grass_needs_three_of_any_kind() -> None:
    assert won("collect_grass", trace(inventory={"wheat_seeds": ramp(300, 1), "tall_grass": ramp(300, 2)}))
    assert not won("collect_grass", trace(inventory={"tall_grass": ramp(300, 2), "leaves": ramp(300, 9)}))


def test_every_measure_is_a_series_of_the_whole_episode() -> None:
    y, placed = pillar_heights(3)
    episode = trace(y=y, placed={"dirt": placed}, inventory={"dirt": 20 - placed})
    for task in SUITE.tasks.values():
        series = task.measure.series(episode)
        assert series.shape == (301,)
        assert np.isfinite(series).all()
        assert task.judge(episode)[1] == series[-1]


def test_very_short_episodes_are_judged() -> None:
    for task in SUITE.tasks.values():
        assert task.judge(trace(n=1))[0] is False


def test_every_kind_is_tested_or_used() -> None:
    depth = parse_rule({"kind": "depth", "at_least": 3}, "t")
    assert depth.holds(trace(y=np.where(np.arange(301) > 100, 6.0, 10.0)))
    height = parse_rule({"kind": "height", "at_least": 3}, "t")
    assert height.holds(trace(y=np.where(np.arange(301) > 100, 14.0, 10.0)))
    assert not height.holds(trace(y=np.where(np.arange(301) == 100, 14.0, 10.0)))
    path = parse_rule({"kind": "path_length", "at_least": 20}, "t")
    assert path.holds(trace(x=np.linspace(0, 21, 301)))
    crafted = parse_rule({"kind": "crafted", "names": ["planks"], "at_least": 4}, "t")
    assert crafted.holds(trace(crafted={"planks": ramp(300, 4)}))
    placed = parse_rule({"kind": "placed", "names": ["dirt"], "at_least": 9}, "t")
    assert not placed.holds(trace(placed={"dirt": ramp(300, 8)}))
    water = parse_rule({"kind": "steps_in_water", "at_least": 100}, "t")
    assert water.holds(trace(wet=np.arange(301) > 199))
    either = parse_condition({"any": [{"kind": "depth", "at_least": 3}, {"kind": "height", "at_least": 3}]}, "t")
    assert either.holds(trace(y=np.where(np.arange(301) > 100, 14.0, 10.0)))
    assert not either.holds(trace())
    assert set(KINDS) >= {"item_gained", "dug", "placed", "crafted"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"at_least": 3}, "needs a kind"),
        ({"kind": "item_ganed", "names": ["x"], "at_least": 1}, "no rule of kind"),
        ({"kind": "item_gained", "at_least": 1}, "other parameters"),
        ({"kind": "depth", "deep": 1, "at_least": 1}, "other parameters"),
        ({"kind": "depth"}, "needs one bound"),
        ({"kind": "depth", "at_least": 1, "at_most": 2}, "needs one bound"),
        ({"kind": "depth", "at_least": "much"}, "must be a number"),
        ({"kind": "dug", "names": "dirt", "at_least": 1}, "list of exact names"),
        ({"kind": "pitch_in_last_part", "part": 30, "at_most": 0}, "fraction"),
        ({"all": []}, "needs a list"),
    ],
)
def test_bad_rules_are_named(rule: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_condition(rule, "file.yaml: tasks.x.success")


def test_the_suite_is_whole() -> None:
    assert set(SUITE.tasks) >= {"dig_dirt", "look_at_sky", "explore", "collect_grass", "build_pillar", "swim", "chop_tree"}
    meadow = [task for task in SUITE.tasks.values() if task.surroundings == "meadow"]
    assert len({task.place for task in meadow}) == 1, "one episode must be judged by all tasks of the meadow"
    assert all(task.split == "eval" and set(task.prompts) >= {"en", "zh"} for task in SUITE.tasks.values())


def test_finding_tasks() -> None:
    assert SUITE.find("BuildVillageHouse").name == "build_pillar"
    assert SUITE.by_prompt("挖泥土") is SUITE.tasks["dig_dirt"]
    assert SUITE.by_prompt("Dig dirt ") is SUITE.tasks["dig_dirt"]
    assert SUITE.by_prompt("fly") is None
    assert SUITE.english("挖泥土") == "dig dirt"
    assert SUITE.english("盖房子") == "盖房子"
    with pytest.raises(UserError) as fault:
        SUITE.find("dig_dirtt")
    assert "dig_dirt" in str(fault.value)
    assert [task.name for task in SUITE.select(["explore", "dig_dirt", "explore"])] == ["explore", "dig_dirt"]
    assert len(SUITE.select(["all"])) == len(SUITE.tasks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "not YAML"),
        ("env: luanti", "needs env and tasks"),
        ("env: luanti\ntasks: {a: 3}", "must be a mapping"),
        ("env: luanti\ntasks: {a: {prompt: x}}", "missing or unknown keys"),
        ("env: luanti\ntasks: {a: {prompts: x, surroundings: m, steps: 1, success: {}, measure: {}}}", "at least English"),
        ("env: luanti\ntasks: {a: {prompts: {en: x}, surroundings: m, steps: 0, success: {}, measure: {}}}", "whole number"),
    ],
)
def test_bad_suites_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_suite(path)
    with pytest.raises(UserError, match="no such suite"):
        load_suite("luantii")
