"""Success rules on made-up episodes, the tempting wrong ones included; the suite's file; bad files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.envs import start_states
from steve1.evaluation.tasks.rules import KINDS, parse_condition, parse_rule
from steve1.evaluation.tasks.suite import FOLDER, load_suite
from steve1.rollout.players import BEHAVIOURS
from steve1.rollout.trace import GONE, Trace, TraceRecorder


def trace(
    n: int = 300, *, x: Any = 0.0, y: Any = 10.0, z: Any = 0.0, pitch: Any = 0.0, wet: Any = False,
    **counts: dict[str, Any],
) -> Trace:  # fmt: skip
    def column(value: Any, kind: type) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=kind), (n + 1,)).copy()

    named = {
        kind: {name: column(value, np.int64) for name, value in counts.get(kind, {}).items()}
        for kind in ("inventory", "dug", "placed", "crafted")
    }
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
    assert won(
        "dig_dirt",
        trace(inventory={"dirt": 20 + dug}, dug={"grass_block": np.minimum(dug, 1), "dirt": np.maximum(dug - 1, 0)}),
    )
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


Block = tuple[int, int, int, int, str]  # state, x, y, z, name ("" once it is gone)


def with_blocks(*blocks: Block, own: bool = True, scene: tuple[Block, ...] = (), **more: Any) -> Trace:
    rows = sorted([(*block, 1 if own else 0) for block in blocks] + [(*block, 0) for block in scene])
    names = sorted({row[4] for row in rows if row[4]})
    episode = trace(**more)
    episode.blocks = np.array(
        [[*row[:4], names.index(row[4]) if row[4] else GONE, row[5]] for row in rows], dtype=np.int64
    ).reshape(-1, 6)
    episode.block_names = names
    return episode


def floor(skip: int = -1, **names: str) -> list[Block]:
    return [(20 * n + 20, n % 3, 9, n // 3, names.get("name", "dirt")) for n in range(9) if n != skip]


def test_a_floor_is_nine_blocks_of_one_height_side_by_side() -> None:
    assert won("build_floor", with_blocks(*floor(), n=600))
    assert not won("build_floor", with_blocks(*floor(skip=4), n=600)), "a hole in the middle"
    assert SUITE.tasks["build_floor"].judge(with_blocks(*floor(skip=4), n=600))[1] == 8
    assert won("build_floor", with_blocks(*floor(name="grass_block"), n=600)), "grass grows over it"
    assert not won("build_floor", with_blocks(*floor(name="stone"), n=600)), "another material"
    assert not won("build_floor", with_blocks(*floor(), own=False, n=600)), "what the scene put there is not built"
    steps = [(s, x, 9 + (x == 2), z, name) for s, x, _, z, name in floor()]
    assert not won("build_floor", with_blocks(*steps, n=600)), "one row a node higher"
    row = [(20 * n + 20, n, 9, 0, "dirt") for n in range(9)]
    assert not won("build_floor", with_blocks(*row, n=600)), "nine in a row"


def test_blocks_must_stand_at_the_same_time() -> None:
    moved = [*floor(), (150, 0, 9, 0, "")]  # the first one is dug again before the last is placed
    assert not won("build_floor", with_blocks(*moved, n=600))
    dug_later = [*floor(), (400, 0, 9, 0, "")]
    assert won("build_floor", with_blocks(*dug_later, n=600)), "it stood"
    series = SUITE.tasks["build_floor"].measure.series(with_blocks(*floor(), n=600))
    assert [series[19], series[20], series[100], series[180], series[600]] == [0, 1, 5, 9, 9]


def test_a_wall_stands_either_way_and_not_flat() -> None:
    wall = [(20 * n + 20, n % 4, 9 + n // 4, 5, "dirt") for n in range(8)]
    assert won("build_wall", with_blocks(*wall, n=600))
    assert won("build_wall", with_blocks(*[(s, z, y, x, name) for s, x, y, z, name in wall], n=600))
    assert not won("build_wall", with_blocks(*[(s, x, 9, y, name) for s, x, y, z, name in wall], n=600)), "lying"
    assert not won("build_wall", with_blocks(*wall[:7], n=600))
    assert not won("build_wall", with_blocks(*floor(), n=600))


def test_the_lamp_must_burn_and_the_switch_be_placed() -> None:
    dark, lit, switch = (0, 5, 9, 5, "lamp"), (120, 5, 9, 5, "lamp_lit"), {"switch": ramp(300, 1, 60, 61)}
    whole = with_blocks((60, 5, 9, 4, "switch"), (110, 5, 9, 4, "switch_on"), scene=(dark, lit), placed=switch)
    assert won("light_lamp", whole)
    progress = SUITE.tasks["light_lamp"].measure.series(whole)
    assert [progress[state] for state in (0, 59, 61, 110, 120, 300)] == [0, 0, 1, 2, 3, 3]
    assert not won("light_lamp", with_blocks((60, 5, 9, 4, "switch"), scene=(dark,), placed=switch)), (
        "never switched on"
    )
    assert not won(
        "light_lamp", with_blocks((60, 8, 9, 8, "switch"), (120, 8, 9, 8, "switch_on"), scene=(dark,), placed=switch)
    ), "too far off"
    assert not won("light_lamp", with_blocks(scene=(dark, lit)))


def test_digging_deep_is_down_a_hole_of_ones_own() -> None:
    down, dug = 10.0 - ramp(300, 7), {"dirt": ramp(300, 2), "stone": ramp(300, 5)}
    assert won("dig_deep", trace(y=down, dug=dug))
    assert not won("dig_deep", trace(y=down)), "fallen into a hole"
    assert not won("dig_deep", trace(y=down, x=np.linspace(0, 20, 301), dug=dug)), "down a hill"
    assert not won("dig_deep", trace(y=10.0, dug=dug)), "dug on the level"


def test_diving_is_with_the_head_under_water() -> None:
    under = trace(wet=True)
    under.under_water[100:161] = True
    assert won("dive", under)
    under.under_water[120:] = False
    assert not won("dive", under)
    assert not won("dive", trace(wet=True)), "floating"


def test_the_inventory_is_open_for_a_second() -> None:
    seen = trace()
    seen.menu[50:70] = True
    assert won("open_inventory", seen)
    seen.menu[60:] = False
    assert not won("open_inventory", seen)


def test_planks_leaves_and_flowers() -> None:
    assert won("craft_planks", trace(crafted={"planks": ramp(300, 4)}))
    assert not won("craft_planks", trace(inventory={"planks": ramp(300, 8)})), "found, not crafted"
    assert not won("craft_planks", trace(crafted={"stick": ramp(300, 8)}))
    assert won("collect_leaves", trace(inventory={"leaves": ramp(300, 1), "aspen_leaves": ramp(300, 2)}))
    assert not won("collect_leaves", trace(inventory={"leaves": ramp(300, 2), "log": ramp(300, 4)}))
    assert won("pick_flower", trace(inventory={"viola": ramp(300, 1)}))
    assert not won("pick_flower", trace(inventory={"tall_grass": ramp(300, 4)}))


def test_blocks_and_menus_are_recorded_and_kept_on_disk(tmp_path: Path) -> None:
    where = dict.fromkeys(("xpos", "ypos", "zpos", "pitch", "yaw"), 0.0)
    scenes = [[], [[0, 9, 0, "dirt"]], [[0, 9, 0, "dirt"], [1, 9, 0, "dirt"]], [[1, 9, 0, "grass_block"]]]
    looks = [
        ({"inventory": {}, "location_stats": where, "is_gui_open": n == 2}, {"built": built, "under_water": n > 1})
        for n, built in enumerate(scenes)
    ]
    recorder = TraceRecorder(*looks[0])
    for obs, info in looks[1:]:
        recorder.add({"camera": [0.0, 0.0]}, obs, info)
    recorder.trace({}).save(tmp_path / "t")
    kept = Trace.load(tmp_path / "t")
    assert kept.menu.tolist() == [False, False, True, False]
    assert kept.under_water.tolist() == [False, False, True, True]
    names = dict(enumerate(kept.block_names)) | {GONE: ""}
    assert [(row[0], tuple(row[1:4]), names[row[4]]) for row in kept.blocks.tolist()] == [
        (1, (0, 9, 0), "dirt"), (2, (1, 9, 0), "dirt"), (3, (0, 9, 0), ""), (3, (1, 9, 0), "grass_block"),
    ]  # fmt: skip
    count = parse_rule({"kind": "standing", "names": ["dirt"], "at_least": 1}, "t")
    assert count.series(kept).tolist() == [0, 1, 2, 2]


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


def kinds_in_suite() -> Iterator[str]:
    """The kinds of rule that the shipped tasks use."""
    yield from re.findall(r"kind: (\w+)", SUITE.path.read_text(encoding="utf-8"))


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
    here = set(re.findall(r'"kind": "(\w+)"', Path(__file__).read_text(encoding="utf-8")))
    assert set(KINDS) <= here | set(kinds_in_suite())


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
        ({"kind": "shape", "names": ["dirt"], "size": [3, 3], "at_least": 9}, "that of a box"),
        ({"kind": "shape", "names": ["dirt"], "size": [3, 0, 3], "at_least": 9}, "that of a box"),
        ({"kind": "fulfilled", "rules": [], "at_least": 1}, "list of rules"),
        ({"kind": "fulfilled", "rules": [{"kind": "depth"}], "at_least": 1}, "needs one bound"),
        ({"all": []}, "needs a list"),
    ],
)
def test_bad_rules_are_named(rule: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_condition(rule, "file.yaml: tasks.x.success")


def test_the_suite_is_whole() -> None:
    assert set(SUITE.tasks) >= {
        "dig_dirt",
        "look_at_sky",
        "explore",
        "collect_grass",
        "build_pillar",
        "swim",
        "chop_tree",
    }
    meadow = [task for task in SUITE.tasks.values() if task.biome == "meadow"]
    same = [
        task
        for task in meadow
        if task.name in ("dig_dirt", "look_at_sky", "explore", "collect_grass", "build_pillar", "open_inventory")
    ]
    assert len({task.beginning for task in same}) == 1, "one episode must be judged by all of these"
    assert list(SUITE.tasks)[:7] == [
        "dig_dirt",
        "look_at_sky",
        "explore",
        "collect_grass",
        "build_pillar",
        "swim",
        "chop_tree",
    ], "seeds follow this order"
    assert {task.level for task in SUITE.tasks.values()} == {1, 2, 3}
    assert all(task.split == "eval" and set(task.prompts) >= {"en", "zh"} for task in SUITE.tasks.values())


def test_finding_tasks() -> None:
    assert SUITE.find("BuildVillageHouse").name == "build_wall"
    assert SUITE.find("build-village_house").name == "build_wall"
    assert SUITE.find("redstone").name == "light_lamp"
    assert SUITE.by_prompt("挖泥土") is SUITE.tasks["dig_dirt"]
    assert SUITE.by_prompt("Dig dirt ") is SUITE.tasks["dig_dirt"]
    assert SUITE.by_prompt("fly") is None
    assert SUITE.by_prompt("采集种子") is SUITE.tasks["collect_grass"], "of other words, read as collect seeds"
    assert SUITE.by_prompt("采集钻石") is None
    assert SUITE.translations["挖泥土"] == "dig dirt"
    with pytest.raises(UserError) as fault:
        SUITE.find("dig_dirtt")
    assert "dig_dirt" in str(fault.value)
    assert [task.name for task in SUITE.select(["explore", "dig_dirt", "explore"])] == ["explore", "dig_dirt"]
    assert [task.name for task in SUITE.select(["explore", "level2", "dig_dirt"])] == [
        "explore",
        "build_pillar",
        "craft_planks",
        "build_floor",
        "build_wall",
        "dig_dirt",
    ]
    with pytest.raises(UserError, match="level1, level2, level3"):
        SUITE.select(["level9"])
    names = [name.lower() for task in SUITE.tasks.values() for name in (task.name, *task.aliases)]
    assert len(names) == len(set(names)), "a name must mean one task"


@pytest.mark.parametrize("game", ["mcio", "minerl", "minestudio"])
def test_the_house_of_the_minecrafts_is_blocks_placed_in_one_place(game: str) -> None:
    task = load_suite(game).find("BuildVillageHouse")
    assert task.name == "build_house"
    placed = {"oak_planks": ramp(300, 20), "cobblestone": ramp(300, 4)}
    assert task.judge(trace(placed=placed)) == (True, 24.0)
    assert task.judge(trace(placed={"oak_planks": ramp(300, 23)})) == (False, 23.0)
    assert not task.judge(trace(placed={"dirt": ramp(300, 30)}))[0], "no material for a house"
    assert not task.judge(trace(x=ramp(300, 30), placed=placed))[0], "a trail of blocks is no house"


def test_tasks_that_the_machine_cannot_offer_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "steve1.evaluation.tasks.suite.missing_mods", lambda env, wanted: dict.fromkeys(wanted, "apt-get install x")
    )
    assert "light_lamp" not in [task.name for task in SUITE.select(["all"])]
    assert "light_lamp is not available here: needs mesecons: apt-get install x" in caplog.text
    with pytest.raises(UserError, match="not available") as fault:
        SUITE.select(["lamp"])
    assert "apt-get install x" in str(fault.value)
    alone = [
        f"level{level}"
        for level in (1, 2, 3)
        if {t.name for t in SUITE.tasks.values() if t.level == level} == {"light_lamp"}
    ]
    assert alone == ["level3"]
    with pytest.raises(UserError, match="No task of this choice") as fault:
        SUITE.select(alone)
    assert "apt-get install x" in str(fault.value)


def test_a_bound_on_something_else_does_not_turn_the_measure_round(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        """env: luanti
tasks:
  clean_dirt:
    prompts: {en: dig dirt but no stone}
    biome: meadow
    steps: 300
    success: {all: [{kind: item_gained, names: [dirt], at_least: 4}, {kind: item_gained, names: [cobblestone], at_most: 0}]}
    measure: {kind: item_gained, names: [dirt], name: dirt gained}
"""
    )
    assert not load_suite(str(tmp_path / "s.yaml")).tasks["clean_dirt"].lower_is_better
    assert [task.name for task in SUITE.tasks.values() if task.lower_is_better] == ["look_at_sky"]


def test_every_task_begins_where_its_player_does() -> None:
    from steve1.data.episodes.captions import read_captions

    captions = read_captions()
    for task in SUITE.tasks.values():
        assert task.prompts["zh"], "shipped tasks have a Chinese prompt"
        assert not task.prompts["zh"].isascii()
        if not task.player:
            continue
        player = BEHAVIOURS[task.player]
        assert (task.biome, task.inventory, task.scene, task.steps) == (
            player.biome,
            player.inventory,
            player.scene,
            player.steps,
        )
        kept = start_states("luanti", task.biome, "eval")
        assert len(task.states(kept)) >= 15
        assert task.prompts["en"] in captions[task.player].train, (
            "what a task asks for is what its demonstrations are called"
        )
    with pytest.raises(UserError, match="no start state"):
        SUITE.tasks["pick_flower"].states([{"id": "meadow_eval_001"}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "not YAML"),
        ("env: luanti", "needs env and tasks"),
        ("env: luanti\ntasks: {a: 3}", "must be a mapping"),
        ("env: luanti\ntasks: {a: {prompt: x}}", "missing or unknown keys"),
        ("env: luanti\ntasks: {a: {prompts: x, biome: m, steps: 1, success: {}, measure: {}}}", "at least English"),
        (
            "env: luanti\ntasks: {a: {prompts: {en: x}, biome: m, steps: 1, success: {}, measure: {}, scene: lamp}}",
            "list of nodes",
        ),
        (
            "env: luanti\ntasks: {a: {prompts: {en: x}, biome: m, steps: 1, success: {kind: depth, at_least: 1}, measure: {kind: depth}, requires: mesecons}}",
            "list of texts",
        ),
        ("env: luanti\ntasks: {a: {prompts: {en: x}, biome: m, steps: 0, success: {}, measure: {}}}", "whole number"),
    ],
)
def test_bad_suites_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_suite(path)
    with pytest.raises(UserError, match="no such suite"):
        load_suite("luantii")


def test_a_suite_made_before_is_the_same_suite(tmp_path: Path) -> None:
    """Earlier files called the biome "surroundings", and evaluations know a suite by the sha256 of such a file."""
    path = tmp_path / "own.yaml"
    path.write_text(
        "env: luanti\ntasks: {a: {prompts: {en: x}, biome: m, steps: 1, success: {kind: depth, at_least: 1}, measure: {kind: depth}}}"
    )
    today = load_suite(path)
    path.write_text("# a comment\n" + path.read_text().replace("biome", "surroundings"))
    before = load_suite(path)
    assert before.digest == today.digest
    assert before.tasks == today.tasks
    assert before.earlier_digests()[0] == sha256_file(path)
    assert before.with_steps(1).earlier_digests() == before.earlier_digests(), "nothing has changed"
    assert not before.with_steps(2).earlier_digests(), "episodes of another length are other results"


def test_a_suite_lies_where_the_script_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.yaml").write_text((FOLDER / "luanti.yaml").read_text())
    monkeypatch.setenv("STEVE1_FROM", str(tmp_path))
    assert load_suite("own.yaml").tasks == SUITE.tasks


def test_what_is_in_hand_is_part_of_the_beginning(tmp_path: Path) -> None:
    """An inventory is given from the first slot on, so one in another order begins otherwise."""
    rest = "biome: m, steps: 1, success: {kind: depth, at_least: 1}, measure: {kind: depth}}"
    path = tmp_path / "own.yaml"
    path.write_text(
        f"env: luanti\ntasks:\n  a: {{prompts: {{en: x}}, inventory: {{pickaxe: 1, dirt: 9}}, {rest}\n  b: {{prompts: {{en: y}}, inventory: {{dirt: 9, pickaxe: 1}}, {rest}\n"
    )
    suite = load_suite(path)
    assert suite.tasks["a"].beginning != suite.tasks["b"].beginning
    path.write_text(path.read_text().replace("{dirt: 9, pickaxe: 1}", "{pickaxe: 1, dirt: 9}"))
    assert load_suite(path).digest != suite.digest, "there they share their episodes, which are not gone on with"
