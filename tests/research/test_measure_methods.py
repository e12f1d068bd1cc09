"""The measurement of methods on a stand-in: cells survive kills, the best are chosen from them, and table and picture hold nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research import modes_table
from research.measure_methods import __main__ as command
from research.measure_methods import learning, run
from research.measure_methods import page as page_module
from research.measure_methods.cells import COLUMNS, Cell, Estimate, append_cells, best, change, read_cells, score
from research.measure_methods.page import BEGIN, END, write_page
from research.measure_methods.picture import Point, _apart, picture
from research.measure_methods.recipes import IMITATING, RECIPES
from research.measure_methods.settings import Settings
from steve1.core.errors import UserError
from steve1.core.files import write_json
from steve1.core.paths import ROOT
from steve1.evaluation import policies as policies_module
from steve1.evaluation.pipeline import evaluate
from steve1.rollout.play import GoalActor
from tests.evaluation.worlds import SUITE, injected
from tests.rollout.fakes import FakeAgent


def cell(
    method: str, task: str, base: str, tuned: str, *, seed: int = 0, skill: str = "dig_dirt", role: str = ""
) -> Cell:
    found: Any = role or ("new" if task == skill else "old")
    return Cell(method, skill, seed, task, found, base, tuned, 100, "aaa", "bbb", "2026-11-28")


def test_cells_survive_a_kill_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    assert read_cells(path) == []
    first, second = cell("full", "dig_dirt", "0001", "0111"), cell("full", "explore", "1111", "1010")
    append_cells(path, [first])
    with open(path, "a") as file:
        file.write("full,dig_dirt,0,expl")  # killed here
    assert read_cells(path) == [first]
    append_cells(path, [second])
    assert read_cells(path) == [first, second]
    assert path.read_text().count("\n") == 3
    path.write_text(",".join(COLUMNS) + "\nfull,dig_dirt,0,explore,old,01,0,100,a,b,2026-11-28\n")
    with pytest.raises(UserError, match="not a cell") as caught:
        read_cells(path)
    assert ":2" in str(caught.value)
    path.write_text("other,table\n")
    with pytest.raises(UserError, match="not a table of cells"):
        read_cells(path)


def test_the_interval_knows_how_many_seeds_there_are() -> None:
    """The same episodes say less when they come from seeds that disagree; where all changed alike it is that of the paired test."""
    zeros, ones = "0" * 20, "1" * 20
    agreed = [cell("full", "dig_dirt", zeros, "01" * 10, seed=seed) for seed in range(3)]
    torn = [cell("full", "dig_dirt", zeros, tuned, seed=seed) for seed, tuned in enumerate([zeros, "01" * 10, ones])]
    narrow, wide = change(agreed), change(torn)
    assert narrow is not None
    assert wide is not None
    assert narrow.mean == wide.mean == 0.5
    assert narrow.high - narrow.low < wide.high - wide.low
    assert wide.high == 1.0
    assert wide.low == 0.0
    assert wide.clusters == (3, 1, 20)
    same = change([cell("full", "dig_dirt", zeros, ones)])
    assert same is not None
    assert (same.mean, same.high) == (1.0, 1.0)
    assert 0.6 < same.low < 0.9
    kept = change([cell("full", "dig_dirt", "1" * 60, "1" * 60)])
    assert kept is not None
    assert kept.mean == 0
    assert (kept.low, kept.high) == pytest.approx((-0.08, 0.08), abs=0.03)
    assert change([]) is None
    once = change([cell("full", "dig_dirt", "0", "1"), cell("full", "dive", "0", "0", skill="dive")])
    assert once == Estimate(0.5, -1.0, 1.0, (1, 2, 1)), "one place proves nothing"


def test_its_coverage_is_about_what_it_says() -> None:
    """Seeds vary and places vary: the interval of three seeds holds the true change in at least 85 % of trials, as so few clusters allow."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        cells = []
        for seed in range(3):
            p = float(np.clip(0.5 + 0.15 * rng.standard_normal(), 0, 1))
            bits = "".join("1" if each else "0" for each in rng.random(20) < p)
            cells.append(cell("full", "dig_dirt", "0" * 20, bits, seed=seed))
        found = change(cells, draws=400)
        assert found is not None
        held += found.low <= 0.5 <= found.high
    assert held >= 51, held


def test_the_score_counts_new_and_old_and_only_the_screening_chooses() -> None:
    cells = [
        cell("full", "dig_dirt", "0000", "1111"), cell("full", "explore", "1111", "0000"),
        cell("replay", "dig_dirt", "0000", "0111"), cell("replay", "explore", "1111", "1111"),
        cell("goal", "dig_dirt", "0000", "0001"),
        cell("kl", "dig_dirt", "0000", "1111", seed=1), cell("goal", "swim", "0000", "1111", skill="swim", role="called"),
    ]  # fmt: skip
    assert [score(cells, method) for method in ("full", "replay", "goal", "lora")] == [0.0, 0.75, 0.25, None]
    assert best(cells, list(RECIPES), 2) == ["replay", "goal"]


def test_a_score_without_old_skills_is_left_out_beside_those_with_them(tmp_path: Path) -> None:
    """Where the best alone play the old skills, another method's score would lack what it lost; goal tuning loses nothing."""
    settings = Settings(skills=("dig_dirt",), page="", picture="", cells=str(tmp_path / "cells.csv"))
    new = [
        cell(method, "dig_dirt", "0" * 8, bits)
        for method, bits in (("full", "1" * 8), ("lora", "1" * 8), ("goal", "0" * 7 + "1"))
    ]

    def scores(cells: list[Cell]) -> dict[str, str]:
        rows = [line.split(" | ") for line in write_page(cells, settings).splitlines() if line.startswith("| ")]
        return {row[0].removeprefix("| "): row[-1].removesuffix(" |") for row in rows if len(row) == 4}

    assert scores(new) == {"method": "score", "full fine-tuning": "+100", "LoRA": "+100", "goal tuning": "+12"}
    old = cell("lora", "explore", "1" * 8, "1" * 6 + "00")
    assert scores([*new, old]) == {"method": "score", "full fine-tuning": "–", "LoRA": "+75", "goal tuning": "+12"}


@pytest.fixture
def chosen(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a small measurement: tiny weights are really trained, and fake agents play in a fake world."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.Measurement, "sampling_of", lambda self, skill, seed: "tiny")
    monkeypatch.setattr(run.Measurement, "old_sampling", lambda self: "tiny")

    def actor(self: Any, spec: Any, goal: Any, seed: int, behaviour: str = "") -> Any:
        able = "full" in spec.name or ("frozen" in spec.name and seed % 3)
        return GoalActor(FakeAgent(), goal if able else np.zeros(4))  # type: ignore[arg-type]

    def small(settings: Any) -> Any:
        names = [Path(name).name.removesuffix(".goal.json").removesuffix(".weights") for name in settings.weights]
        return evaluate(dataclasses.replace(settings, suite=str(tmp_path / "suite.yaml")), injected(tuple(names)))

    monkeypatch.setattr(policies_module.PolicyCache, "actor", actor)
    monkeypatch.setattr(policies_module.PolicyCache, "prepare", lambda self, spec, goal: None)
    monkeypatch.setattr(run, "evaluate", small)
    (tmp_path / "tiny.weights").write_bytes((tiny / "tiny.weights").read_bytes())
    (tmp_path / "tiny.weights.json").write_text(f'{{"model": "{tiny / "tiny.model"}", "env": "luanti"}}')
    (tmp_path / "page.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    small_run = {
        "T": 16, "trunc_t": 8, "batch_size": 1, "total_frames": 16, "warmup_frames": 8, "max_btwn_goals": 30, "val_freq": 0, "num_workers": 0,
        "threads": 1, "precision": "fp32", "lora_rank": 2, "cache_dir": str(tmp_path / "cache"), "checkpoint_dir": str(tmp_path / "runs"),
    }  # fmt: skip
    return Settings(
        methods=("full", "frozen", "half"), skills=("dig_dirt",), old_tasks=("look_at_sky",), called=(), best=1, seeds=2, episodes=3,
        base=str(tmp_path / "tiny.weights"), in_model=str(tiny / "tiny.model"), training=small_run, cells=str(tmp_path / "cells.csv"),
        page=str(tmp_path / "page.md"), picture=str(tmp_path / "pictures" / "methods.svg"), workers=0, device="cpu", sampling_dir=str(tiny / "samplings"),
    )  # fmt: skip


@pytest.mark.e2e
def test_one_command_measures_and_goes_on_after_a_kill(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: Counter[str] = Counter()
    original = run.train_command.main

    def train(settings: Any) -> None:
        trained[settings.name] += 1
        if settings.name == "methods_frozen_dig_dirt_0" and trained[settings.name] == 1:
            raise KeyboardInterrupt
        original(settings)

    monkeypatch.setattr(run.train_command, "main", train)
    with pytest.raises(KeyboardInterrupt):
        command.main(chosen)
    assert [each.key for each in read_cells(tmp_path / "cells.csv")] == [
        ("full", "dig_dirt", 0, "dig_dirt"),
        ("full", "dig_dirt", 0, "look_at_sky"),
    ]
    command.main(chosen)
    cells = read_cells(tmp_path / "cells.csv")
    assert trained == {"methods_full_dig_dirt_0": 1, "methods_frozen_dig_dirt_0": 2, "methods_full_dig_dirt_1": 1}
    assert {(each.method, each.seed) for each in cells} == {("full", 0), ("frozen", 0), ("half", 0), ("full", 1)}
    assert all(each.base == "000" for each in cells)
    assert all(each.tuned == "111" for each in cells if each.method == "full")
    assert all(each.tuned == "000" for each in cells if each.method == "half")
    assert len({each.weights_sha256 for each in cells}) == 4
    text = (tmp_path / "page.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\nWith one seed, 3 episodes a task:")
    assert text.endswith(f"{END}\nafter\n")
    assert "full fine-tuning | 2 | 6/6 | +100 (" in text
    assert "(pictures/methods.svg)" in text
    drawn = ElementTree.parse(tmp_path / "pictures" / "methods.svg").getroot()
    assert sorted(filter(re.compile("method-").match, (each.get("id", "") for each in drawn.iter()))) == [
        f"method-{number}" for number in range(3)
    ]
    before = (tmp_path / "cells.csv").read_bytes()
    command.main(chosen)
    assert (tmp_path / "cells.csv").read_bytes() == before, "nothing is measured twice"
    command.main(dataclasses.replace(chosen, dry_run=True))
    assert "8 cells finished" in capsys.readouterr().out


def test_only_the_best_play_old_tasks_if_asked(tmp_path: Path) -> None:
    """The choice is by the trained skill, also when a run goes on after the best one's old tasks."""
    settings = Settings(
        methods=("ppo", "placebo", "clone"), skills=("swim",), old_tasks=("explore",), old_tasks_of="best", called=(), best=1, seeds=2,
        episodes=4, cells=str(tmp_path / "cells.csv"),
    )  # fmt: skip
    measurement = run.Measurement(settings)
    found: list[Any] = []
    tuned = {"ppo": "1110", "placebo": "0000", "clone": "1100"}
    for method, skill, seed, old in command.plan(measurement):
        found.append((method, seed, old))
        new = [cell(method, skill, "0000", tuned[method], seed=seed, skill=skill)]
        append_cells(measurement.path, [one for one in new if one not in measurement.cells])
        if old:
            append_cells(measurement.path, [cell(method, "explore", "1111", "0000", seed=seed, skill="swim")])
    assert found == [
        ("ppo", 0, False), ("placebo", 0, False), ("clone", 0, False), ("ppo", 0, True), ("ppo", 1, True),
    ]  # fmt: skip
    assert [each[:3:2] for each in command.plan(measurement)][3:] == [("ppo", 0), ("ppo", 1)]
    append_cells(
        measurement.path, [cell("full", "dig_dirt", "0000", "1111"), cell("ppo", "dive", "0000", "1111", skill="dive")]
    )
    assert "about 6 cells of 4 episodes; 6 cells finished; about 0.0 hours" in command.budget(measurement)
    further = run.Measurement(dataclasses.replace(settings, skills=("dive",)))
    assert "about 6 cells of 4 episodes; 1 cell finished" in command.budget(further), (
        "those of other skills do not count"
    )


def test_the_page_has_nothing_that_was_not_measured(tmp_path: Path) -> None:
    settings = Settings(page="", picture=str(tmp_path / "p.svg"), cells=str(tmp_path / "none.csv"))
    with pytest.raises(UserError, match="No cell has been measured"):
        write_page([], settings)
    said = write_page([cell("goal", "dig_dirt", "0000", "0000")], settings)
    assert "goal tuning" in said
    assert "cannot be lost" in said
    assert not any(RECIPES[name].words in said for name in RECIPES if name != "goal")
    assert "Over seeds" not in said
    called = write_page([cell("goal", "swim", "0000", "1111", skill="swim", role="called")], settings)
    assert "by the tuned goal" in called
    assert "4/4" in called
    (tmp_path / "bare.md").write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        page_module.insert(tmp_path / "bare.md", "text")
    with pytest.raises(UserError, match="no such method"):
        Settings(methods=("dreaming",)).check()


def test_every_recipe_is_a_run_that_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steve1.training.checks import faults

    for name in ("old_sampling", "self_sampling"):
        monkeypatch.setattr(run.Measurement, name, lambda self, name=name: name)
    monkeypatch.setattr(run.Measurement, "sampling_of", lambda self, skill, seed: "new")
    monkeypatch.setattr(run.Measurement, "pack", lambda self: "old.replay.safetensors")
    measurement = run.Measurement(Settings(cells=str(tmp_path / "cells.csv")))
    for name, recipe in RECIPES.items():
        if recipe.rl is not None:
            measurement.playing(recipe, name, "look_at_sky", 0).check()
        elif not recipe.between:
            settings = measurement.training(recipe, name, "dig_dirt", 0)
            assert not [fault for fault in faults(settings) if "does not exist" not in fault], name
            assert settings.feature_cache == (not recipe.trains_cnn)
    assert len(IMITATING) == 13


def test_methods_that_play_are_trained_by_playing_and_held_against_the_placebo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def play(settings: Any) -> None:
        asked.append(settings)
        Path(settings.out_weights).write_text(settings.method)

    monkeypatch.setattr(run.train_rl, "main", play)
    monkeypatch.setattr(run, "resolve", lambda name: tmp_path / Path(name).name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "weights" / "steve1").mkdir(parents=True)
    settings = Settings(name="rl", iterations=3, cells=str(tmp_path / "cells.csv"), picture="", page="")
    measurement = run.Measurement(settings)
    measurement.weights("placebo", "look_at_sky", 1)
    (made,) = asked
    assert (made.reward, made.iterations, made.seed, made.placebo, made.method) == ("look_at_sky", 3, 1, True, "ppo")
    cells = [
        cell("ppo", "look_at_sky", "000000", "111111", skill="look_at_sky"),
        cell("placebo", "look_at_sky", "000000", "000000", skill="look_at_sky"),
    ]
    said = write_page(cells, settings)
    assert "Against the placebo, points: PPO +100" in said
    assert "![" not in said
    longer = dataclasses.replace(cells[0], base="0" * 10, tuned="1" * 6 + "0" * 4)
    assert "PPO +100" in write_page([longer, cells[1]], settings), "of more episodes, those that both have played"
    more = dataclasses.replace(cells[1], base="0" * 12, tuned="0" * 12)
    assert "PPO +60" in write_page([longer, more], settings)


def test_success_while_practising_is_kept_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run's iterations are written once, those of a run made again replace the old ones, and the picture has a line for each run."""
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    settings = Settings(name="rl", learning=str(tmp_path / "rl.svg"), picture="", page=str(page))
    measurement = run.Measurement(settings)
    monkeypatch.setattr(run, "output_path", lambda name: tmp_path / name)

    def ran(method: str, seed: int, shares: list[float]) -> None:
        folder = tmp_path / "data/finetuning_checkpoint" / f"rl_{method}_swim_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        record = {"settings": {"reward": "swim", "method": "ppo", "places": 4, "group": 8}}
        write_json(folder / "settings.json", record)
        write_json(folder / "curves.json", [{"step": n, "rl/success": share} for n, share in enumerate(shares, 1)])
        measurement.keep_learning(method, "swim", seed)

    ran("placebo", 0, [0.25, 0.5])
    ran("ppo", 0, [0.25, 0.5])
    ran("ppo", 1, [0.125])
    ran("ppo", 0, [0.25, 1.0])
    measurement.keep_learning("clone", "swim", 0)  # no such run here
    measurement.keep_learning("full", "swim", 0)
    lines = (tmp_path / "rl.csv").read_text().splitlines()
    assert lines[0] == ",".join(learning.COLUMNS)
    assert lines[1:] == ["ppo,swim,0,1,32,0.25", "ppo,swim,0,2,32,1.0", "ppo,swim,1,1,32,0.125",
                         "placebo,swim,0,1,32,0.25", "placebo,swim,0,2,32,0.5"]  # fmt: skip
    said = write_page([cell("ppo", "swim", "0000", "1111", skill="swim")], settings)
    assert f"![Success while practising, by iteration: PPO, {RECIPES['placebo'].words}](rl.svg)" in said
    drawn = (tmp_path / "rl.svg").read_text()
    assert [drawn.count(f"<!-- {name} -->") + drawn.count(f">{name}<") for name in ("PPO, seed 0", "PPO, seed 1")] == [
        1,
        1,
    ]
    for wrong in ("other,table\n1,2\n", ",".join(learning.COLUMNS) + "\nmagic,swim,0,1,32,0.5\n"):
        (tmp_path / "rl.csv").write_text(wrong)
        with pytest.raises(UserError, match="not a table of iterations"):
            write_page([cell("ppo", "swim", "0000", "1111", skill="swim")], settings)


def test_the_pages_have_places_and_the_modes_of_today() -> None:
    text = (ROOT / "docs/technical/STEVE1_TRAINING_ANALYSIS.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
    assert f"{modes_table.BEGIN}\n{modes_table.table()}{modes_table.END}" in text, (
        "python -m research.modes_table --insert docs/technical/STEVE1_TRAINING_ANALYSIS.md"
    )


def test_names_in_the_picture_lie_apart_and_inside() -> None:
    places = _apart([0.5, 0.5, 0.51, 0.0, 0.01])
    ordered = sorted(places)
    assert min(b - a for a, b in itertools.pairwise(ordered)) > 0.04
    assert ordered[0] == pytest.approx(0)
    assert places[2] > max(places[0], places[1])
    assert places[4] > places[3]


def test_the_same_methods_give_the_same_picture_with_the_best_in_bold() -> None:
    def at(mean: float) -> Estimate:
        return Estimate(mean, mean - 0.1, mean + 0.1, (1, 1, 1))

    points = [
        Point("better <x>", at(0.0), at(0.5)),
        Point("worse", at(-0.2), at(0.5)),
        Point("kinder", at(0.1), at(0.1)),
    ]
    drawn = picture(points)
    assert drawn == picture(points)
    fonts = {
        "".join(text.itertext()): "font-weight: 700" in text.get("style", "")
        for text in ElementTree.fromstring(drawn).iterfind(".//{*}text")
    }
    assert {name: fonts[name] for name in ("better <x>", "worse", "kinder")} == {
        "better <x>": True,
        "worse": False,
        "kinder": True,
    }
