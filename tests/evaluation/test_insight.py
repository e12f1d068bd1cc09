"""What a report shows beyond rates: similarity to goals, attribution, failures, actions, the page."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.evaluation.demonstrations import VisualPrompt, read_demonstrations, shown_goals, typical
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.policies import PolicySpec
from steve1.evaluation.runner.episodes import summary_of_actions
from steve1.evaluation.runner.similarity import GoalSimilarity, SimilarityRecorder, load_curves, mean_curve
from steve1.evaluation.statistics.attribution import attribute, variants
from steve1.rollout.trace import Trace
from tests.data.makers import make_episode
from tests.evaluation.worlds import GOALS, injected, settings
from tests.rollout.fakes import OpenFake, fake_starts, goal


class FakeStream:
    """Embeds the last 16 frames as how blue they are: direction 0 in the beginning, direction 1 later; counts frames."""

    def __init__(self) -> None:
        self.seen, self.resets = 0, 0

    def reset(self) -> None:
        self.seen, self.resets = 0, self.resets + 1

    def push_many(self, frames: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        rows = np.full((len(frames), 4), np.nan, dtype=np.float32)
        for index in range(len(frames)):
            self.seen += 1
            if self.seen >= 16:
                angle = np.pi / 2 * (self.seen - 16) / 24
                rows[index] = [3 * np.cos(angle), 3 * np.sin(angle), 0, 0]
        return rows


@dataclasses.dataclass(frozen=True)
class FakeSimilarity(GoalSimilarity):
    @property
    def stream(self) -> Any:
        return FakeStream()


JUDGE = FakeSimilarity("", "", {"dig_dirt": goal(0), "look_at_sky": goal(1), "swim": 2 * goal(2)})


def test_similarity_is_a_cosine_of_the_last_frames_from_the_sixteenth_on() -> None:
    watcher = JUDGE.recorder(["dig_dirt", "look_at_sky", "unknown"])
    assert isinstance(watcher, SimilarityRecorder)
    frame = np.zeros((4, 4, 3), np.uint8)
    for step in range(20):
        watcher.on_frame(frame, {}, step)
    for step in range(40):
        watcher.on_frame(frame, {}, step)
    rows = watcher.similarities()
    assert rows.shape == (40, 2), "a repeated episode begins anew"
    assert np.isnan(rows[:15]).all()
    assert np.isfinite(rows[15:]).all()
    assert rows[15] == pytest.approx([1, 0], abs=1e-6)
    assert rows[39] == pytest.approx([0, 1], abs=1e-6)
    assert JUDGE.recorder(["unknown"]) is None


def test_mean_curves_over_episodes_of_different_length() -> None:
    nan = float("nan")
    found = mean_curve([np.array([nan, 1, 3], np.float32), np.array([nan, 2], np.float32)])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [1.5, 3.0]


class Tags(HTMLParser):
    """Every opened tag is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing is opened."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.e2e
def test_the_page_holds_everything_and_needs_nothing_from_outside(world: Path) -> None:
    report = evaluate(
        settings(
            world,
            "base",
            "tuned",
            "random",
            tasks=("dig_dirt", "look_at_sky"),
            episodes=3,
            videos=1,
            similarity=2,
            target=("dig_dirt",),
        ),
        injected(similarity=JUDGE),
    )
    page = report.paths["html"].read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.sources) >= 2
    assert all((report.folder / source).is_file() for source in tags.sources), "videos lie beside the page"
    for heading in (
        "The numbers, and how sure they are",
        "Goal similarity over time",
        "Failures worth watching",
        "Actions",
        "Settings",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count(": Goal similarity over time") == 2, "a curve for each task"
    order = [page.index(part) for part in ("<li>dig dirt: ", "<video", 'aria-label="Successes', "<details>")]
    assert order == sorted(order), "the answer, the video, the chart, then the numbers"
    assert "<polyline" in page
    assert "(+3 / -0)" in page
    measured = [line["key"] for line in report.lines if line["similarity"]]
    assert len(measured) == 2 * (2 + 2 + 1), "two first episodes of each, the floor's being common to its place"
    assert set(load_curves(report.folder, measured[0])) == {"dig_dirt", "look_at_sky"}
    rows = (report.folder / "comparisons.csv").read_text().splitlines()
    assert rows[0].startswith("contestant,base,task,pairs,gained")
    assert len(rows) == 1 + 2 * 2


def test_failures_are_ranked_and_filmed_on_request(world: Path) -> None:
    words: dict[str, Any] = {"tasks": ("dig_dirt",), "episodes": 4}
    # In this world it is "tuned" that follows its goal, so it is the base here.
    first = evaluate(settings(world, "tuned", "base", **words), injected())
    entries = first.summary["failures"]
    assert [entry["contestant"] for entry in entries] == ["base"] * 3, (
        "at most three of each; the one who always succeeds has none"
    )
    assert all(entry["why"] == "base" for entry in entries)
    assert all(entry["video"] == "" for entry in entries)
    again = evaluate(settings(world, "tuned", "base", **words, record_failures=2), injected())
    page = (again.folder / "report.html").read_text()
    assert page.count("<video") == 2
    assert "One more failure was not filmed" in page
    filmed = [entry for entry in again.summary["failures"] if entry["video"]]
    assert len(filmed) == 2
    assert all((again.folder / entry["video"]).is_file() for entry in filmed)
    assert all(entry["again"] == "failed again" for entry in filmed)
    assert len(again.lines) == len(first.lines), "episodes played again count nowhere"


def test_the_advice_of_filming_more_failures_films_more(world: Path) -> None:
    report = evaluate(settings(world, "tuned", "base", episodes=3, similarity=0, record_failures=6), injected())
    assert [bool(entry["video"]) for entry in report.summary["failures"]] == [True] * 6 + [False] * 3
    assert "3 more failures were not filmed" in (page := report.paths["md"].read_text())
    assert "--record_failures 9 " in page, "with 6 the same ones would be filmed"


def test_camera_movement_is_in_degrees() -> None:
    still, turning = actions.null_action(), actions.null_action()
    turning["camera"] = [0.0, 10.0]
    tokens = np.stack(actions.to_joint([still, turning]), axis=1)
    zeros = np.zeros((3, 3))
    trace = Trace(tokens, zeros, zeros[:, :2], np.zeros(3, bool), zeros[:, 0], {})
    assert summary_of_actions(trace)["camera"] == pytest.approx(5.0)


def test_attribution_plays_three_kinds_of_goals_and_blames_the_prior(world: Path) -> None:
    """The prior's goal for "dig dirt" is wrong here; a demonstration's is right: the prior is to blame. Nobody digs when told nothing."""
    goals = {
        "tuned": {**GOALS, "dig dirt": goal(2)},
        "tuned+text": {**GOALS, "dig dirt": goal(2)},
        "tuned+shown": GOALS,
    }

    def names(policies: Any) -> list[str]:
        return [each.name for each in policies]

    found = variants(
        [PolicySpec("tuned", "weights"), PolicySpec("random", "random"), PolicySpec("own", "weights", goal="file:x")]
    )
    assert names(found) == ["tuned", "tuned+text", "tuned+shown", "random", "own"]
    assert [each.goal for each in found] == ["prior", "text", "shown", "prior", "file:x"]
    with pytest.MonkeyPatch.context() as patch:
        from steve1.evaluation import policies as module

        original = module.PolicyCache.actor
        # The fake agent of every variant follows its goal, as "tuned" does.
        patch.setattr(
            module.PolicyCache,
            "actor",
            lambda self, who, *rest: original(self, dataclasses.replace(who, name=who.name.split("+")[0]), *rest),
        )
        report = evaluate(
            settings(world, "tuned", tasks=("dig_dirt", "swim"), episodes=8, attribution=True), injected(goals=goals)
        )
    table = report.summary["attribution"]["tuned"]
    assert table["dig_dirt"]["rates"]["shown"]["successes"] == 8
    assert table["dig_dirt"]["verdict"].startswith("the prior")
    assert table["swim"]["verdict"].startswith("neither")
    assert list(report.summary["rates"]["dig_dirt"]) == ["tuned"], "variants stand in their own table"
    assert "Which part fails?" in report.paths["html"].read_text()
    assert json.loads(report.paths["json"].read_text())["settings"]["contestants"][2]["goal"] == "shown"


def test_a_policy_that_fails_even_when_shown_is_to_blame() -> None:
    def lines(who: str, wins: int) -> list[dict[str, Any]]:
        return [
            {"contestant": who, "row": "t", "number": n, "success": {"t": n < wins}, "measure": {"t": 0.0}}
            for n in range(20)
        ]

    everyone = variants([PolicySpec("w", "weights")])
    found = attribute([*lines("w", 0), *lines("w+text", 1), *lines("w+shown", 0)], everyone, ["t"])
    assert found["w"]["t"]["verdict"].startswith("the policy")
    found = attribute([*lines("w", 6), *lines("w+text", 6), *lines("w+shown", 9)], everyone, ["t"])
    assert found["w"]["t"]["verdict"].startswith("cannot tell")


def test_the_typical_moment_of_demonstrations(tmp_path: Path, world: Path) -> None:
    rows = np.array([[np.nan] * 3, [1, 0, 0], [0.9, 0.5, 0], [0.5, 0.9, 0]], dtype=np.float32)
    shown = VisualPrompt.of("demo", rows, "dig_dirt")
    assert shown.frames.tolist() == [1, 2, 3]
    moment, place = typical([shown])
    assert place == "demo, frame 2"
    assert moment.tolist() == pytest.approx([0.9, 0.5, 0])
    from steve1.evaluation.tasks.suite import load_suite

    tasks = load_suite(str(world / "suite.yaml")).select(["dig_dirt"])
    first = shown_goals(tasks, tmp_path, show=lambda task: [shown])
    kept = shown_goals(tasks, tmp_path, show=lambda task: [])
    assert kept["dig_dirt"].tolist() == first["dig_dirt"].tolist(), "a run that goes on has the same goals"
    record = tmp_path / "shown_goals.json"
    assert re.match("demo, frame", json.loads(record.read_text())["dig_dirt"]["moment"])
    with pytest.raises(UserError, match=r"goal of dig_dirt was taken from other demonstrations[^*]*data/mine"):
        shown_goals(tasks, tmp_path, show=lambda task: [], demonstrations=["data/mine"])
    record.write_text(json.dumps({"dig_dirt": "demo, frame 2"}))
    kept = shown_goals(tasks, tmp_path, show=lambda task: [], demonstrations=["data/mine"])
    assert kept["dig_dirt"].tolist() == first["dig_dirt"].tolist(), "kept by an earlier version, without the folders"
    with pytest.raises(UserError, match="no demonstration of swim"):
        shown_goals(load_suite(str(world / "suite.yaml")).select(["swim"]), tmp_path, show=lambda task: [])


def test_demonstrations_too_short_for_a_goal_are_left_out(tmp_path: Path) -> None:
    make_episode(tmp_path / "short", n_frames=12)
    with pytest.raises(UserError, match="no embedded demonstration"):
        read_demonstrations([str(tmp_path)])
    make_episode(tmp_path / "whole", n_frames=20)
    (shown,) = read_demonstrations([str(tmp_path)])
    assert shown.source.endswith("/whole")
    with pytest.raises(UserError, match="too short for a goal"):
        typical([VisualPrompt.of("played", np.full((12, 3), np.nan, np.float32), "")])


def test_scripted_players_show_tasks_in_the_game(world: Path) -> None:
    from steve1.evaluation.demonstrations import play_demonstrations
    from steve1.evaluation.tasks.suite import load_suite
    from steve1.rollout.supervise import SupervisedEnv

    task = load_suite(str(world / "suite.yaml")).find("dig_dirt")
    with SupervisedEnv(lambda: OpenFake()(0)) as game:
        with pytest.raises(UserError, match="no scripted player"):
            play_demonstrations(task, game, FakeStream(), fake_starts("luanti", "meadow", "demo"), 0)
        with pytest.raises(UserError, match="did not succeed"):
            play_demonstrations(
                dataclasses.replace(task, player="look_at_sky"),
                game,
                FakeStream(),
                fake_starts("luanti", "meadow", "demo"),
                0,
            )
