"""Adaptive stopping: it spends episodes where they decide, and its intervals hold in spite of the repeated looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.statistics import tests as s
from steve1.evaluation.statistics.sequential import SequentialTest
from tests.evaluation.worlds import injected, settings


def test_looks_double_and_end_where_asked() -> None:
    assert s.looks(20, 160) == (20, 40, 80, 160)
    assert s.looks(20, 100) == (20, 40, 100)
    assert s.looks(7, 7) == (7,)
    assert s.look_confidence(1) == pytest.approx(0.95)
    assert s.look_confidence(4) == pytest.approx(1 - 0.05 / 4)
    for first, most in ((20, 10), (0, 10)):
        with pytest.raises(UserError, match="not below its start"):
            s.looks(first, most)


def line(who: str, number: int, won: bool) -> dict[str, Any]:
    return {"contestant": who, "row": "t", "number": number, "success": {"t": bool(won)}}


def counts(first: list[bool], second: list[bool]) -> tuple[int, int, int]:
    """(pairs, gained, lost)."""
    seen = list(zip(first, second))
    return len(seen), seen.count((False, True)), seen.count((True, False))


def stopped(
    random: np.random.Generator, rates: tuple[float, float], sequential_test: SequentialTest
) -> tuple[int, list[bool], list[bool]]:
    """One simulated sequential evaluation: (pairs played, base, tuned)."""
    base, tuned = (random.random(sequential_test.looks[-1]) < rate for rate in rates)
    count = sequential_test.looks[0]
    while True:
        lines = [line("base", n, base[n]) for n in range(count)] + [line("tuned", n, tuned[n]) for n in range(count)]
        asked = sequential_test(lines)
        if not asked:
            return count, base[:count].tolist(), tuned[:count].tolist()
        count = asked["tuned", "t"]


@pytest.mark.e2e
def test_looking_often_is_accounted_for() -> None:
    """Without any difference, stopping at a finding must find something in at most 5 of 100; without the correction it would more often."""
    random, looks = np.random.default_rng(0), (10, 20, 40, 80)
    sequential_test = SequentialTest(looks, "base", ("tuned",), ("t",), target=("t",))
    found, inside, naive = 0, 0, 0
    for _ in range(100):
        _, first, second = stopped(random, (0.5, 0.5), sequential_test)
        test = s.paired_test(*counts(first, second), s.look_confidence(4))
        found += test.p < 0.05 / 4
        inside += test.low <= 0 <= test.high
        everything = (random.random(80) < 0.5).tolist(), (random.random(80) < 0.5).tolist()
        naive += any(s.paired_test(*counts(everything[0][:n], everything[1][:n])).p < 0.05 for n in looks)
    assert found / 100 <= 0.05
    assert inside / 100 >= 0.95
    assert naive > 1.5 * found, "the test's own check: uncorrected looks do find too much"


def test_large_effects_stop_early_and_small_ones_go_on() -> None:
    random = np.random.default_rng(1)
    sequential_test = SequentialTest((10, 20, 40, 80), "base", ("tuned",), ("t",), target=("t",))
    large = [stopped(random, (0.05, 0.95), sequential_test)[0] for _ in range(20)]
    small = [stopped(random, (0.4, 0.6), sequential_test)[0] for _ in range(20)]
    assert np.mean(large) < 13
    assert np.mean(small) > 30


def test_only_open_questions_get_more_episodes(world: Path) -> None:
    """The tuned one succeeds always: learning dirt is settled at once; that it kept swimming needs no more; nobody goes to the limit."""
    report = evaluate(
        settings(
            world, "base", "tuned", "nothing", episodes=8, stopping="sequential", max_episodes=32, target=("dig_dirt",)
        ),
        injected(),
    )
    played = {task: report.summary["rates"][task]["tuned"]["episodes"] for task in report.summary["rates"]}
    assert played == {"dig_dirt": 8, "look_at_sky": 8, "swim": 8}
    assert report.summary["looks"] == [8, 16, 32]
    assert report.summary["comparisons"]["tuned"]["dig_dirt"]["verdict"] == "better"
    assert report.summary["comparisons"]["tuned"]["dig_dirt"]["p"] == pytest.approx(3 * 2 * 0.5**8, abs=1e-6)
    assert "looks after 8, 16, 32 pairs" in report.paths["md"].read_text()


def test_open_questions_are_played_on_and_resumed(world: Path) -> None:
    """Four gained of four do not prove much; eight of eight do."""
    words: dict[str, Any] = {
        "stopping": "sequential",
        "episodes": 4,
        "max_episodes": 8,
        "tasks": ("dig_dirt",),
        "target": ("dig_dirt",),
    }
    report = evaluate(settings(world, "base", "tuned", **words), injected())
    row = report.summary["comparisons"]["tuned"]["dig_dirt"]
    assert (row["pairs"], row["verdict"]) == (8, "better")
    log = (world / "run" / "episodes.jsonl").read_text()
    again = evaluate(settings(world, "base", "tuned", **words), injected())
    assert (world / "run" / "episodes.jsonl").read_text() == log
    assert again.summary["rates"] == report.summary["rates"]
    with pytest.raises(UserError, match="other settings") as fault:
        evaluate(settings(world, "base", "tuned", **{**words, "max_episodes": 24}), injected())
    assert "looks" in str(fault.value), "looks that were not planned would not be accounted for"
    with pytest.raises(UserError, match="two weights"):
        evaluate(settings(world, "base", stopping="sequential"), injected())


def test_equal_results_are_played_to_the_limit() -> None:
    sequential_test = SequentialTest((20, 40, 60), "base", ("tuned",), ("t",))
    assert stopped(np.random.default_rng(0), (0.0, 0.0), sequential_test)[0] in (40, 60)


def test_hopeless_questions_are_given_up(world: Path) -> None:
    """Three pairs without a success say so little that nine would not settle it: the forecast saves the rest."""
    idle = {"swim": np.zeros(4, np.float32)}
    words: dict[str, Any] = {"stopping": "sequential", "max_episodes": 9, "tasks": ("swim",), "episodes": 3}
    report = evaluate(settings(world, "base", "tuned", **words), injected(goals={"base": idle, "tuned": idle}))
    row = report.summary["comparisons"]["tuned"]["swim"]
    assert (row["pairs"], row["verdict"]) == (3, "cannot tell")
    assert row["further_episodes"] > 24
