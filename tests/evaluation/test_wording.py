"""What compare, evaluate and evaluate_on_minedojo say of a target's change, on both sides of p = 0.05."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steve1.commands.evaluate import compare as compare_command
from steve1.commands.evaluate import evaluate as evaluate_command
from steve1.commands.evaluate import evaluate_on_minedojo as minedojo_command
from tests.evaluation.worlds import injected

# (weights, episodes, what is said): "tuned" always digs and "base" never, so the p of n pairs is 2 / 2^n
GAIN_P = {5: "0.0625", 6: "0.0313"}
SAID = [
    (("base", "tuned"), 5, "improved? looks better, not sure yet (about 1 more)"),
    (("base", "tuned"), 6, "improved? improved"),
    (("tuned", "base"), 5, "improved? looks worse, not sure yet (about 1 more)"),
    (("tuned", "base"), 6, "improved? worse"),
]


@pytest.fixture
def play(world: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command's `main` in the small world, with the flags that all three share."""
    from steve1.evaluation import compare as library
    from steve1.evaluation.pipeline import evaluate

    def small(settings: Any, inputs: Any = None) -> Any:
        return evaluate(settings, injected())

    monkeypatch.setattr("steve1.evaluation.pipeline.evaluate", small)
    monkeypatch.setattr(library, "evaluate", small)

    def run(command: Any, names: tuple[str, ...], episodes: int, **more: Any) -> dict[str, Any]:
        weights = tuple(str(world / f"{name}.weights") if name in ("base", "tuned") else name for name in names)
        shared = {
            "episodes": episodes,
            "workers": 0,
            "videos": 0,
            "suite": str(world / "suite.yaml"),
            "folder": str(world / "run"),
        }
        command.main(command.Args(weights=weights, **{**shared, **more}))
        found: dict[str, Any] = json.loads((world / "run" / "report.json").read_text())
        return found

    return run


COMMANDS = {
    "compare": (compare_command, {"prompt": "dig dirt"}),
    "evaluate": (evaluate_command, {"tasks": ("dig_dirt",), "target": ("dig_dirt",), "similarity": 0}),
    "evaluate_on_minedojo": (minedojo_command, {"task": ("dig_dirt",)}),
}


@pytest.mark.parametrize(("names", "episodes", "said"), SAID)
@pytest.mark.parametrize("name", COMMANDS)
def test_the_target_s_change(
    name: str,
    names: tuple[str, ...],
    episodes: int,
    said: str,
    play: Any,
    world: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, flags = COMMANDS[name]
    report = play(command, names, episodes, **flags)
    assert report["target"] == ["dig_dirt"]
    out = capsys.readouterr().out
    assert said in out
    assert f"p {GAIN_P[episodes]}" in out or f"| {GAIN_P[episodes]} |" in out
    for text in (out, *((world / "run" / file).read_text() for file in ("report.md", "report.html"))):
        assert "kept? kept" not in text
        assert "kept? lost" not in text
    markdown = (world / "run" / "report.md").read_text()
    assert f"| {said} |" in markdown
    assert 'Asked of dig_dirt: "improved?".' in markdown
    page = (world / "run" / "report.html").read_text()
    assert (
        f"<li><b>{names[1]}</b> against {names[0]}. {said.removeprefix('improved? ').split(' (')[0]}: dig_dirt.</li>"
        in page
    )
    sure = episodes == 6
    assert ('<td class="open">' in page) == (not sure)


def test_several_named_tasks_are_all_targets(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = play(minedojo_command, ("base", "tuned"), 5, task=("dig_dirt", "swim"))
    assert report["target"] == ["dig_dirt", "swim"]
    out = capsys.readouterr().out
    assert out.count("improved? ") == 2
    assert "kept?" not in out


def test_other_tasks_are_still_asked_whether_they_were_kept(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"tasks": ("dig_dirt", "swim"), "similarity": 0}
    play(evaluate_command, ("base", "tuned"), 5, **flags, target=("dig_dirt",))
    out = capsys.readouterr().out
    assert 'Asked of dig_dirt: "improved?"; of every other one, "kept?".' in out
    assert "| improved? looks better, not sure yet (about 1 more) |" in out
    assert "| kept? " in out


def test_without_a_target_the_flag_is_named(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    play(evaluate_command, ("base", "tuned"), 5, tasks=("dig_dirt",), similarity=0)
    assert "name it (--target TASK)" in capsys.readouterr().out


def test_floors_get_no_verdict(play: Any, capsys: pytest.CaptureFixture[str]) -> None:
    play(compare_command, ("base", "nothing"), 5, prompt="dig dirt")
    out = capsys.readouterr().out
    assert "nothing against base: +0 points" in out
    assert "improved?" not in out
    assert "–" not in out
