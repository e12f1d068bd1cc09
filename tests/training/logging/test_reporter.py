"""What a run says on a terminal and in a log file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from steve1.training.logging.reporter import Reporter, clock_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_no_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(tmp_path, 3, speaks=True)
    for step in (1, 2, 3):
        reporter.tick(step)
    reporter.say("a line")
    reporter.close()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a line\n", "")


def test_a_terminal_gets_a_bar_and_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    reporter = Reporter(tmp_path, 8, speaks=True)
    reporter.tick(6)  # a resumed run begins where it was
    reporter.step(
        6,
        768,
        5e-6,
        {"loss": 2.3454, "gradient_norm": 1.0},
        {"frames_per_second": 300.0, "seconds": 1.0, "seconds_left": 9.0},
    )
    reporter.tick(7)
    reporter.finished(tmp_path / "a.weights", tmp_path / "a_best.weights", [])
    reporter.close()
    assert "Step 6/8, Loss: 2.345, LR: 5.0e-6" in capsys.readouterr().out.splitlines()
    assert "6/8" in terminal.getvalue()
    shown = terminal.getvalue().rpartition("\r")[2]
    assert "about 0:00:09 left" in shown
    assert "step/s" not in shown, "one remaining time, not two"


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(tmp_path / "none", 3, speaks=False)
    reporter.started(["x"])
    reporter.tick(1)
    reporter.warn("x")
    reporter.step(1, 128, 1e-5, {"loss": 1.0, "gradient_norm": 1.0}, {"seconds": 1.0, "seconds_left": 1.0})
    reporter.validated(1, {"loss": 1.0}, True)
    reporter.finished(Path("a"), None, [])
    reporter.close()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert not (tmp_path / "none").exists()


def test_times_as_people_read_them() -> None:
    assert [clock_text(seconds) for seconds in (5, 65, 3725.9, 360_000)] == [
        "0:00:05",
        "0:01:05",
        "1:02:05",
        "100:00:00",
    ]
