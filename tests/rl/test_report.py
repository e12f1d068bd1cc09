"""The report of a run: each finding from a run whose numbers call for it and from no healthy one, and the page with its films."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steve1.commands.evaluate.run_pages import refresh_pages
from steve1.commands.train.report_run import Args, main
from steve1.core.errors import UserError
from steve1.core.files import sha256_file, write_json
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.rl.loop import train_rl
from steve1.rl.report.advice import advise
from steve1.rl.report.charts import CHARTS, layout
from steve1.rl.report.findings import SCRIPT, VARIABLES, RlRun, read_rl_run
from steve1.rl.settings import RlSettings
from steve1.training.logging.scalars import Curves
from steve1.training.report.advising import Advice, next_name, texts
from steve1.training.report.findings import read_run
from tests.rl.games import OpenKeyGame
from tests.rl.test_loop import make

__all__ = ["make"]
Make = Callable[..., RlSettings]
SETTINGS = {
    "in_weights": "a.weights",
    "out_weights": "b.weights",
    "reward": "look_at_sky",
    "places": 4,
    "group": 8,
    "iterations": 9,
}


def curve(*values: float) -> list[tuple[int, float]]:
    return list(enumerate(values, 1))


def healthy() -> Curves:
    """Nine iterations of 32 episodes: success and return rise and level off, old prompts stay."""
    return {
        "rl/success": curve(0.3, 0.35, 0.4, 0.7, 0.75, 0.75, 0.75, 0.7, 0.75),
        "rl/return": curve(0.5, 0.6, 0.7, 1.2, 1.3, 1.3, 1.3, 1.2, 1.3),
        "rl/error_of_return": curve(*[0.08] * 9),
        "rl/differing_groups": curve(*[1.0] * 9),
        "rl/kl_update": curve(*[0.01] * 9),
        "rl/steps": curve(*[8.0] * 9),
        "rl/clip_share": curve(*[0.05] * 9),
        "rl/explained_variance": curve(*[0.4] * 9),
        "rl/entropy_buttons": curve(*[0.6] * 9),
        "rl/keep_kl/dig_dirt": curve(*[0.002] * 9),
        "rl/crashes": curve(*[0.0] * 9),
    }


def run_of(changes: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, result: bool = True) -> RlRun:
    """A run like the healthy one; a change of None takes a curve away."""
    curves = {name: points for name, points in {**healthy(), **(changes or {})}.items() if points is not None}
    return RlRun(curves, {**SETTINGS, **(settings or {})}, {"out_sha256": "1"} if result else {})


def found(changes: dict[str, Any] | None = None, **more: Any) -> dict[str, Advice]:
    return {advice.key: advice for advice in advise(run_of(changes, **more))}


def said(advice: Advice, language: str = "en") -> str:
    text, todo = advice.said(language)
    return "\n".join([text, *todo])


FLAT = curve(0.5, 0.45, 0.5, 0.5, 0.45, 0.5, 0.5, 0.45, 0.5)
FALLING = curve(0.7, 0.7, 0.7, 0.5, 0.5, 0.4, 0.3, 0.3, 0.3)
LEVEL = curve(*[1.0] * 9)
SILENT = {name: None for name in healthy() if name not in ("rl/success", "rl/return", "rl/crashes")}
SHAPES: dict[str, dict[str, Any]] = {
    "too_early": {"changes": {name: points[:2] for name, points in healthy().items()}},
    "no_signal": {"changes": {**SILENT, "rl/success": curve(0.0, 0.0), "rl/return": curve(0.0, 0.0), "rl/crashes": curve(0.0, 0.0)}},
    "nothing_to_clone": {"changes": {**SILENT, "rl/success": curve(0.0), "rl/return": curve(0.3), "rl/error_of_return": curve(0.1)}, "settings": {"method": "clone"}},
    "all_succeed": {"changes": {"rl/success": curve(*[0.9] * 6, 0.97, 0.97, 0.97), "rl/differing_groups": curve(*[0.2] * 9)}},
    "groups_alike": {"changes": {"rl/success": curve(*[0.05] * 9), "rl/differing_groups": curve(*[0.25] * 9)}},
    "reward_hacked": {"changes": {"rl/success": FALLING}},
    "return_without_success": {"changes": {"rl/success": FLAT}},
    "success_fell": {"changes": {"rl/success": FALLING, "rl/return": LEVEL}},
    "no_change": {"changes": {"rl/success": FLAT, "rl/return": LEVEL}},
    "placebo": {"settings": {"placebo": True}},
    "stopped_by_kl": {"changes": {"rl/kl_update": curve(*[0.05] * 9), "rl/steps": curve(*[4.0] * 9)}},
    "clipped_much": {"changes": {"rl/clip_share": curve(*[0.4] * 9)}},
    "maybe_slow": {"changes": {"rl/kl_update": curve(*[0.001] * 9), "rl/clip_share": curve(*[0.0] * 9)}},
    "value_blind": {"changes": {"rl/explained_variance": curve(0.2, *[-0.3] * 8), "rl/success": curve(*[0.5] * 9)}},
    "forgetting": {"changes": {"rl/keep_kl/look_at_the_sky": curve(*[0.01] * 8, 0.2)}},
    "forgetting_imitated": {"changes": {"rl/keep_kl/dig_dirt": None, "rl/keep_kl": curve(*[0.08] * 9)}, "settings": {"keep": "both", "replay": "old"}},
    "nothing_kept": {"changes": {"rl/keep_kl/dig_dirt": None}, "settings": {"keep": "none"}},
    "entropy_collapsed": {"changes": {"rl/entropy_buttons": curve(0.6, 0.3, *[0.1] * 7)}},
    "games_died": {"changes": {"rl/crashes": curve(*[2.0] * 9)}},
    "still_rising": {"changes": {"rl/success": curve(0.2, 0.2, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7, 0.7)}},
}  # fmt: skip
GOOD = {"improved", "kept", "measure_it", "control"}


def test_a_healthy_run_is_told_so() -> None:
    advice = found()
    assert set(advice) == GOOD
    assert [word for word in ("35 %", "73 %", "+24 to +49 points") if word not in advice["improved"].en] == []
    line = "bash 5_evaluate.sh --weights a.weights b.weights --tasks look_at_sky --target look_at_sky --episodes 60 --seed 7"
    assert advice["measure_it"].todo[0].en == line
    assert "OUT_WEIGHTS=b_placebo.weights" in said(advice["control"])


def test_a_goal_is_evaluated_and_controlled_under_its_own_name() -> None:
    advice = found(settings={"finetune_mode": "goal", "out_weights": "x/b.weights"})
    assert "--weights a.weights x/b.goal.json --tasks" in said(advice["measure_it"])
    assert "OUT_WEIGHTS=x/b_placebo.goal.json" in said(advice["control"])


@pytest.mark.parametrize("key", SHAPES)
def test_each_finding_and_what_it_says(key: str) -> None:
    advice = found(**SHAPES[key])
    assert key in advice
    assert advice[key].todo or key in ("all_succeed", "placebo")
    assert any("一" <= letter <= "鿿" for letter in said(advice[key], "zh"))


def test_every_finding_is_among_these() -> None:
    assert set(SHAPES) | GOOD == set(texts("steve1.rl.report"))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("no_signal", ["0 of 64 episodes", "SOURCE=corrections WEIGHTS=a.weights PROMPTS='look at sky'", "check_reward --reward look_at_sky --weights a.weights"]),
        ("nothing_to_clone", ["none of 288 episodes", "METHOD=ppo", "--clone_beta 0.3"]),
        ("reward_hacked", ["0.60", "1.27", "70 %", "30 %", "IN_WEIGHTS=a.weights"]),
        ("success_fell", ["LEARNING_RATE=1.5e-05", "KL_COEF=0.2"]),
        ("stopped_by_kl", ["100 %", "0.03 nats", "0.050", "LEARNING_RATE=1.5e-05", "EPOCHS=1"]),
        ("maybe_slow", ["0.0010", "may rise", "LEARNING_RATE=9e-05"]),
        ("value_blind", ["-0.30", "METHOD=group", "--centre group"]),
        ("forgetting", ["look at the sky 0.200", "KEEP_COEF=3", "REPLAY=old"]),
        ("still_rising", ["IN_WEIGHTS=b.weights", "OUT_WEIGHTS=b_2.weights", "SEED=1"]),
        ("no_change", ["ITERATIONS=18"]),
        ("games_died", ["6.25 %", "WORKERS=1"]),
    ],
)  # fmt: skip
def test_the_numbers_in_it(key: str, words: list[str]) -> None:
    text = said(found(**SHAPES[key])[key])
    assert [word for word in words if word not in text] == []


def test_a_rise_that_is_one_of_places_counts_as_chance() -> None:
    """Episodes from the same start end alike: 96 of them from 12 starts are worth nine independent ones."""
    rates = healthy()["rl/success"]
    alike = [(step, (rate * (1 - rate) / 3) ** 0.5) for step, rate in rates]
    assert "improved" in found({"rl/error_of_success": [(step, 0.08) for step, _ in rates]})
    advice = found({"rl/error_of_success": alike, "rl/return": LEVEL})
    assert "improved" not in advice
    assert "no_change" in advice


def test_learning_that_stops_early_counts_as_stopped_whatever_the_last_measure() -> None:
    """The bound is looked at step by step, on that step's episodes."""
    assert "stopped_by_kl" in found({"rl/steps": curve(*[5.0] * 9)})
    assert "stopped_by_kl" not in found({"rl/steps": curve(*[4.0] * 9)}, settings={"minibatches": 2})
    compared = {"method": "group", "places": 2, "group": 16}
    assert "stopped_by_kl" not in found({"rl/steps": curve(*[4.0] * 9)}, settings=compared)


def test_a_run_that_taught_nothing_because_all_went_well_is_told_that() -> None:
    silent = {**SILENT, "rl/success": LEVEL, "rl/return": LEVEL, "rl/differing_groups": curve(*[0.0] * 9)}
    advice = found(silent, settings={"method": "group"})
    assert "all_succeed" in advice
    assert "no_signal" not in advice


def test_groups_of_one_are_no_groups() -> None:
    """PPO learns from an episode whatever the others earned; one episode is always like itself."""
    alone = {"rl/success": curve(*[0.3] * 9), "rl/differing_groups": curve(*[0.0] * 9)}
    assert "groups_alike" in found(alone, settings={"group": 2, "places": 16})
    assert "groups_alike" not in found(alone, settings={"group": 1, "places": 32})


def test_a_value_function_is_judged_only_where_it_is_used() -> None:
    blind = SHAPES["value_blind"]["changes"]
    alone = {"group": 1, "places": 32}
    for settings in ({"method": "group"}, {"value": "none", "centre": "group"}, {"centre": "group"}, alone):
        assert "value_blind" not in found(blind, settings=settings)
    rising = {"rl/explained_variance": blind["rl/explained_variance"]}
    assert "value_blind" not in found(rising), "success rose all the same"


def test_a_goal_has_nothing_to_forget_and_cannot_be_trained_on() -> None:
    goal = {"finetune_mode": "goal", "out_weights": "x/b.goal.json"}
    assert "nothing_kept" not in found({"rl/keep_kl/dig_dirt": None}, settings=goal)
    text = said(found(**SHAPES["still_rising"], settings=goal)["still_rising"])
    assert "ITERATIONS=18" in text
    assert "OUT_WEIGHTS=x/b_2.goal.json" in text


def test_weights_that_forgot_are_not_trained_further() -> None:
    """What they forgot would then count as the start."""
    shape = {**SHAPES["still_rising"]["changes"], **SHAPES["forgetting"]["changes"]}
    text = said(found(shape)["still_rising"])
    assert "ITERATIONS=18" in text
    assert "IN_WEIGHTS=a.weights" in text


def test_old_demonstrations_are_named_by_their_setting() -> None:
    changes = {"rl/keep_kl/dig_dirt": None, "rl/keep_kl": curve(*[0.08] * 9)}
    text = said(found(changes, settings={"keep": "kl", "replay": "old.replay.safetensors"})["forgetting"])
    assert "REPLAY 0.080" in text
    assert "REPLAY=old.replay.safetensors" in text
    assert "KEEP=kl" in text.split("\n")[1]
    assert "KEEP=both" in text.split("\n")[2], "kl imitates nothing, and is what auto means with a pack"


def test_forgetting_is_not_answered_with_the_command_that_was_run() -> None:
    """With a replay pack KEEP=auto means kl, which imitates nothing."""
    changes = {"rl/keep_kl/dig_dirt": None, "rl/keep_kl": curve(*[0.08] * 9)}
    pack = {"replay": "old.replay.safetensors"}
    assert "KEEP=both" in said(found(changes, settings={**pack, "keep": "auto"})["forgetting"])
    assert "REPLAY=old KEEP=auto" in said(found(**SHAPES["forgetting"])["forgetting"]).split("\n")[2]
    assert "imitate" not in said(found(**SHAPES["forgetting_imitated"])["forgetting_imitated"])


def test_a_run_of_before_some_figures_were_recorded_is_read() -> None:
    changes = {
        "rl/error_of_return": None,
        "rl/differing_groups": None,
        "rl/keep_kl/dig_dirt": None,
        "rl/keep_kl": curve(0.01),
    }
    assert set(found(changes)) == GOOD


@pytest.mark.parametrize("pair", itertools.combinations(SHAPES, 2), ids=" and ".join)
def test_no_two_lines_contradict_each_other(pair: tuple[str, str]) -> None:
    changes: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for key in pair:
        changes |= SHAPES[key].get("changes", {})
        settings |= SHAPES[key].get("settings", {})
    advice = found(changes, settings=settings)
    turns = {todo.turn for each in advice.values() for todo in each.todo}
    assert not {"rate up", "rate down"} <= turns
    lines = [todo.en for each in advice.values() for todo in each.todo]
    assert len(lines) == len(set(lines))


def test_its_commands_are_commands() -> None:
    """Each variable is the script's, and each flag the command's; the settings can work."""
    for shape in SHAPES.values():
        for advice in found(**shape).values():
            for todo in advice.todo:
                line = todo.en.rpartition(": ")[2]
                if f"bash {SCRIPT}" not in line:
                    continue
                before, _, flags = line.partition(f"bash {SCRIPT}")
                setting = {variable: name for name, variable in VARIABLES.items()}
                words = [word for text in shlex.split(before) for word in _flag(setting, text)]
                chosen = CommandLine(RlSettings, SCRIPT).parse([*words, *shlex.split(flags)])
                assert chosen is not None
                chosen.check()


def _flag(setting: dict[str, str], text: str) -> list[str]:
    variable, _, value = text.partition("=")
    return [f"--{setting[variable]}", value]


def test_the_script_has_these_variables() -> None:
    named = set(re.findall(r'^([A-Z_]+)="\$\{', (ROOT / SCRIPT).read_text(), re.MULTILINE))
    assert set(VARIABLES.values()) == named


def test_the_next_name() -> None:
    names = ["a.weights", "x.y/a_b.weights", "a_2.weights", "a.goal.json", "a"]
    assert list(map(next_name, names)) == ["a_2.weights", "x.y/a_b_2.weights", "a_3.weights", "a_2.goal.json", "a_2"]


def test_every_curve_is_in_a_chart_once() -> None:
    curves = [curve for chart in CHARTS for curve in chart.curves.values()]
    assert len(curves) == len(set(curves))
    page = layout()
    assert page["1 reward"]["Success"] == ["Margin", ["rl/success", "rl/success_low", "rl/success_high"]]
    _, patterns = page["1 reward"]["Return by term"]
    assert [bool(re.search(pattern, "rl/return_env")) for pattern in patterns] == [False, True]


# ---- the page ----


@pytest.mark.e2e
def test_a_run_writes_its_page_with_films(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = make(iterations=2, keep_prompts="look at the sky", keep_episodes=2, films_every=1)
    train_rl(chosen, OpenKeyGame())
    folder = chosen.run_dir
    assert [path.name for path in sorted((folder / "films").iterdir())] == [
        "000001.json", "000001.mp4", "000002.json", "000002.mp4",
    ]  # fmt: skip
    assert not list((folder / "rollouts").rglob("*.mp4"))
    page = (folder / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 2
    assert "<polygon" in page, "the band around the success rate"
    assert page.count("<svg") >= 12
    assert 'id="too_early"' in page
    assert json.loads((folder / "result.json").read_text())["out_sha256"] in page
    assert not [word for word in ("http://", "https://", "<link", "<script") if word in page]
    shown = {name for row in json.loads((folder / "curves.json").read_text()) for name in row}
    drawn = [curve for chart in CHARTS for curve in chart.curves.values()]
    unused = ("rl/log_p_gap", "rl/loss", "rl/steps", "rl/seconds_", "rl/success_", "rl/error_of_", "step")
    assert [name for name in shown if not name.startswith((*drawn, *unused))] == []

    events = EventAccumulator(str(folder))
    events.Reload()
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    assert {"rl/success_low", "rl/keep_kl/look_at_the_sky", "rl/games_per_second"} <= set(events.Tags()["scalars"])

    train_rl(dataclasses.replace(chosen, films_every=0), OpenKeyGame())  # films change no weights
    assert 'id="too_early"' in (folder / "report.html").read_text()

    (folder / "report.html").unlink()
    capsys.readouterr()
    main(Args(folder))
    lines = capsys.readouterr().out
    assert "2 iterations so far (16 episodes)" in lines
    assert "3_train_finetune_template.sh" not in lines
    assert (folder / "report.html").is_file()

    monkeypatch.chdir(tmp_path)
    assert "5_evaluate.sh" in (folder / "report.html").read_text().split("Evaluation")[-1]
    played = {"sha256": sha256_file(chosen.out_weights)}
    write_json(
        tmp_path / "data/evaluations/sky/report.json",
        {"settings": {"contestants": [played], "tasks": ["look_at_sky"]}, "answer": ["Better by 25 points."]},
    )
    assert refresh_pages([str(chosen.out_weights)]) == [folder / "report.html"]
    evaluated = (folder / "report.html").read_text().split("Evaluation")[-1]
    assert "sky (look_at_sky)" in evaluated
    assert "Better by 25 points." in evaluated
    assert "5_evaluate.sh" not in evaluated

    with pytest.raises(UserError, match="run of reinforcement learning"):
        read_run(folder)
    (folder / "curves.json").unlink()
    with pytest.raises(UserError, match="finished no iteration"):
        read_rl_run(folder)


@pytest.mark.e2e
def test_a_run_without_a_signal_says_so_on_its_page(make: Make, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        "env: luanti\nrewards:\n  keys:\n    task: explore\n    steps: 16\n    terms: [{success: 1}]\n"
    )
    chosen = make(iterations=6, places=1, group=2)
    with pytest.raises(UserError, match="nothing to learn from"):
        train_rl(chosen, OpenKeyGame())
    page = (chosen.run_dir / "report.html").read_text()
    assert 'id="no_signal"' in page
    assert "0 of 8 episodes succeeded" in page
