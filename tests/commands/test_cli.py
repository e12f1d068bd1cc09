"""Commands that run other commands: Ctrl-C and SIGTERM wait for what the other one finishes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from steve1.commands import cli
from steve1.core.paths import ROOT

_CHILD = """#!{python}
import signal, sys, time
def finish(number, _):
    time.sleep(1.0)
    open({done!r}, "w").write(signal.Signals(number).name)
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, finish)
print("ready", flush=True)
time.sleep(60)
"""
_PARENT = """
from steve1.commands import cli
cli.sys.executable = {child!r}
cli.run_command(["train"])
"""


def test_a_full_disk_is_told_with_the_file_that_ffmpeg_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def job() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "file:/data/my video.mp4")

    with pytest.raises(SystemExit) as end:
        cli.leave(job)
    assert end.value.code == 2
    assert " /data/my video.mp4\n" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_started_may_finish_what_it_does(tmp_path: Path, number: signal.Signals) -> None:
    done, child = tmp_path / "done", tmp_path / "child.py"
    child.write_text(_CHILD.format(python=sys.executable, done=str(done)))
    child.chmod(child.stat().st_mode | stat.S_IXUSR)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(child=str(child))],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(number)  # to this process alone, as `kill` does
        assert parent.wait(timeout=120) == 128 + number
    assert done.read_text() == number.name


def test_the_code_of_a_command_that_was_killed(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(f"#!{sys.executable}\nimport os\nos.kill(os.getpid(), 9)\n")
    child.chmod(child.stat().st_mode | stat.S_IXUSR)
    found = subprocess.run(
        [sys.executable, "-c", _PARENT.format(child=str(child))],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip
    assert found.returncode == 137


def test_a_command_that_was_started_does_not_say_what_to_run_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEVE1_GOES_ON", raising=False)
    child = tmp_path / "child.py"
    child.write_text(
        f"#!{sys.executable}\nfrom steve1.core.messages import say_next\nprint('made')\nsay_next('bash 3_train.sh')\n"
    )
    child.chmod(child.stat().st_mode | stat.S_IXUSR)
    found = subprocess.run(
        [sys.executable, "-c", _PARENT.format(child=str(child))],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.split() == ["made"]
