"""Choosing by measuring: the fastest of the candidates by a clock of the test's own, never one that is slower than the plain way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steve1.core import tuning
from steve1.core.tuning import Choice, Tuned, candidates, measure, spread, tune

PLAIN = Choice(8, 2)


class Machine:
    """A clock that goes on by what the work takes: seconds of 64 frames for each choice, and what the machine does beside it."""

    def __init__(self, takes: Callable[[Choice], float]) -> None:
        self.now, self.takes, self.tried = 0.0, takes, list[Choice]()

    def clock(self) -> float:
        return self.now

    def attempt(self, choice: Choice) -> float:
        self.tried.append(choice)
        self.now += self.takes(choice)
        return 64.0


def chosen(takes: Callable[[Choice], float], seconds: float = 1000.0) -> Tuned:
    machine = Machine(takes)
    return measure(candidates(PLAIN, 128), machine.attempt, seconds, machine.clock)


def test_candidates_are_around_the_plain_way_which_comes_first() -> None:
    found = candidates(PLAIN, 64)
    assert found[0] == PLAIN
    assert len(set(found)) == len(found)
    assert {choice.frames for choice in found} == {2, 4, 8, 16, 32, 64}
    assert {choice.threads for choice in found} == {1, 2}
    assert candidates(PLAIN, 0) == [PLAIN, Choice(8, 1)]
    assert candidates(PLAIN, 64, threads=1)[0] == Choice(8, 1)
    assert candidates(PLAIN, 64, frames=5, threads=3) == [Choice(5, 3)]
    assert {choice.threads for choice in candidates(Choice(8, 16), 8)} == {16, 8, 1}


def busy(choice: Choice) -> float:
    """Threads wait for one another."""
    return 3.0 if choice.threads > 1 else 1.0


@pytest.mark.parametrize(
    ("takes", "wanted"),
    [
        (lambda choice: 1.0, Choice(8, 1)),  # nothing to win: the fewest threads
        (lambda choice: 1.0 if choice == PLAIN else 1.01, PLAIN),
        (lambda choice: 0.5 if choice == Choice(32, 2) else 1.0, Choice(32, 2)),
        (busy, Choice(8, 1)),
        (lambda choice: (0.5 if choice.frames == 64 else 1.0) * (2.0 if choice.threads == 1 else 1.0), Choice(64, 2)),
        (lambda choice: 0.97 if choice == Choice(16, 2) else 1.0 if choice == PLAIN else 1.2, PLAIN),  # as good: kept
    ],
)
def test_the_fastest_is_taken(takes: Callable[[Choice], float], wanted: Choice) -> None:
    found = chosen(takes)
    assert found.choice == wanted
    assert found.plain == PLAIN
    assert found.speed == pytest.approx(64 / takes(wanted))
    assert found.plain_speed == pytest.approx(64 / takes(PLAIN))


@pytest.mark.parametrize("lucky", range(4))
def test_one_lucky_time_decides_nothing(lucky: int) -> None:
    """Another program stops for a moment, whichever candidate is being timed."""
    count = iter(range(10_000))

    def takes(choice: Choice) -> float:
        slower = 1.1 if choice != PLAIN else 1.0
        return slower / 3 if next(count) == 2 + lucky else slower

    assert chosen(takes).choice == PLAIN


@pytest.mark.parametrize("seconds", [0.5, 3.0, 12.0])
def test_measuring_ends_in_time_and_what_was_not_timed_is_not_taken(seconds: float) -> None:
    machine = Machine(lambda choice: 1.0 if choice.frames < 128 else 0.1)
    found = measure(candidates(PLAIN, 128), machine.attempt, seconds, machine.clock)
    assert found.choice in machine.tried
    assert machine.now < seconds + 6.0  # the pieces at hand, and the plain way once


def test_a_quiet_machines_answer_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning.os, "getloadavg", lambda: (0.0, 9.0, 9.0))
    machine = Machine(lambda choice: 0.2 if choice == Choice(16, 1) else 1.0)
    about = {"training": "frames", "batch": 2}

    def ask(about: dict[str, object], frames: float = 1e6, *, fresh: bool = False, keep: bool = True) -> Tuned:
        return tune(about, candidates(PLAIN, 64), machine.attempt, frames, fresh=fresh, keep=keep, clock=machine.clock)

    assert ask(about, keep=False).choice == Choice(16, 1)
    assert not tuning.cache_file().exists()
    assert ask(about).choice == Choice(16, 1)
    assert "16 frames at once on 1 thread" in ask(about).line()
    tried = len(machine.tried)
    assert ask(about) == ask(about)
    assert len(machine.tried) == tried, "measured again"
    ask({**about, "batch": 4})
    assert len(machine.tried) > tried, "another batch"
    tried = len(machine.tried)
    monkeypatch.setattr(tuning, "machine", lambda: ("other", "2 cores", "2.0"))
    ask(about)
    assert len(machine.tried) > tried, "another processor"
    machine.takes = busy
    before = tuning.cache_file().read_bytes()
    assert ask(about, fresh=True).choice == Choice(8, 1)
    assert tuning.cache_file().read_bytes() == before
    monkeypatch.setattr(tuning.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    ask({"training": "features"})
    assert tuning.cache_file().read_bytes() == before, "a busy machine's answer"


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"KEY": 3}', '{"KEY": {"choice": {"frames": 7, "threads": 1}}}'])
def test_a_damaged_file_is_measured_again(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    key = ", ".join([*tuning.machine(), "batch 2"])
    tuning.cache_file().parent.mkdir()
    tuning.cache_file().write_text(content.replace("KEY", key))
    machine = Machine(lambda choice: 0.2 if choice == Choice(16, 1) else 1.0)
    found = tune({"batch": 2}, candidates(PLAIN, 64), machine.attempt, 1e6, clock=machine.clock)
    assert found.choice == Choice(16, 1)
    assert json.loads(tuning.cache_file().read_text())[key]["choice"] == {"frames": 16, "threads": 1}


def test_a_home_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tuning.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    machine = Machine(lambda choice: 1.0)
    assert tune({}, candidates(PLAIN, 64), machine.attempt, 1e6, clock=machine.clock).choice == Choice(8, 1)


def test_short_work_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = Machine(lambda choice: 0.1 if choice.frames == 64 else 1.0)
    found = tune({"short": 1}, candidates(PLAIN, 64), machine.attempt, 640, clock=machine.clock)
    assert (found.choice, found.line()) == (PLAIN, "")
    assert machine.tried == [PLAIN]
    stuck = Machine(lambda choice: 2.0 * busy(choice))
    assert tune({"stuck": 1}, candidates(PLAIN, 64), stuck.attempt, 1e9, clock=stuck.clock).choice == Choice(8, 1)
    assert {choice.frames for choice in stuck.tried} == {8}
    slow = Machine(lambda choice: 30.0)
    assert tune({"slow": 1}, candidates(PLAIN, 64), slow.attempt, 1e9, clock=slow.clock).choice == PLAIN
    assert slow.tried == [PLAIN]
    alone = tune({}, [Choice(3, 1)], machine.attempt, 1e9, clock=machine.clock)
    assert (alone.choice, len(machine.tried)) == (Choice(3, 1), 1)


def test_threads_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(tuning, "tune", lambda *given: Tuned(Choice(4, 1), Choice(8, before), 2.0, 1.0))
    with (
        pytest.raises(KeyboardInterrupt),
        spread({}, torch.device("cpu"), 8, 64, 1000, lambda frames: frames) as frames,
    ):
        assert (frames, torch.get_num_threads()) == (4, 1)
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before
    assert "4 frames at once on 1 thread" in capsys.readouterr().out
    with spread({}, torch.device("meta"), 8, 64, 1000, lambda frames: frames) as frames:  # any other device
        assert frames == 8
