"""Jobs over workers that die, hang and fail: the same rules for processes of this machine and for a Ray cluster."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steve1.core.errors import UserError
from steve1.core.executor import ExecutorConfig, WorkerDied, job_results, run_jobs
from steve1.core.executor.cluster import connected_ray
from steve1.core.executor.local import InlineWorker
from steve1.core.files import made, remove_half_written
from steve1.core.processes import descendants, end_tree, gone, uninterrupted
from tests import forks


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


class Sleeper:
    """A runner for worker tests: 'die' and 'hang' do so once (a file remembers), others answer."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        (self.folder / f"opened-{os.getpid()}").touch()

    def run(self, job: str) -> str:
        for trouble in ("die", "hang"):
            mark = self.folder / job
            if job.startswith(trouble) and not mark.exists():
                mark.touch()
                (self.folder / f"lost-{os.getpid()}").touch()
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
                (self.folder / f"child-{job}").write_text(str(child.pid))
                if trouble == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(300)
        if job == "user":
            raise UserError("A fault of the user's.", where="here")
        if job == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/x.npz")
        if job == "bug":
            raise ValueError("a bug of ours")
        if job == "odd":
            raise Unpicklable("an odd error", "")
        return job.upper()

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()


class SleeperRecipe:
    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __call__(self, index: int) -> Sleeper:
        return Sleeper(self.folder)


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.e2e)])
def ray(request: pytest.FixtureRequest) -> bool:
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param == "ray"


def job_takes(folder: Path, ray: bool) -> float:
    """Seconds of a job and its worker here and now."""
    folder.mkdir()
    began = time.monotonic()
    run_jobs(["a"], SleeperRecipe(folder), lambda job, result: None, ExecutorConfig(workers=1, ray=ray, cpus=0.1))
    return time.monotonic() - began


@pytest.mark.e2e
def test_jobs_of_workers_that_die_or_hang_are_repeated(tmp_path: Path, ray: bool) -> None:
    done: dict[str, str] = {}
    jobs = ["a", "die1", "b", "hang", "c"]
    # A job's time includes the start of its worker, which takes its time on a busy machine.
    if not ray:
        job_takes(tmp_path / "server", ray)
    timeout_s = max(15 if ray else 3, 4 * job_takes(tmp_path / "usual", ray))
    config = ExecutorConfig(workers=2, timeout_s=timeout_s, max_restarts=20, ray=ray, cpus=0.1)
    run_jobs(jobs, SleeperRecipe(tmp_path), done.__setitem__, config)
    assert done == {job: job.upper() for job in jobs}
    opened, lost, closed = (
        {path.name.partition("-")[2] for path in tmp_path.glob(f"{what}-*")} for what in ("opened", "lost", "closed")
    )
    assert len(lost) == 2
    assert closed == opened - lost, "workers that live are closed in order"
    if not ray:
        assert gone(int((tmp_path / "child-hang").read_text())), "a hanging worker is ended with what is below it"


def test_restarts_of_workers_are_bounded(tmp_path: Path, ray: bool) -> None:
    config = ExecutorConfig(workers=1, max_restarts=2, ray=ray, cpus=0.1)
    with pytest.raises(UserError, match="died too often"):
        run_jobs(["die1", "die2", "die3"], SleeperRecipe(tmp_path), lambda job, result: None, config)


def test_a_job_that_loses_its_workers_is_given_up_where_attempts_are_counted(tmp_path: Path) -> None:
    config = ExecutorConfig(workers=2, max_restarts=9, attempts=1)
    results = {each.job: each for each in job_results(["a", "die1", "b"], SleeperRecipe(tmp_path), config)}
    assert [results[job].value for job in ("a", "b")] == ["A", "B"]
    assert isinstance(results["die1"].error, WorkerDied)


def test_errors_of_a_job_end_the_run_with_their_message(tmp_path: Path, ray: bool) -> None:
    def run(job: str) -> None:
        config = ExecutorConfig(ray=ray, cpus=0.1)
        run_jobs([job], SleeperRecipe(tmp_path), lambda job, result: None, config)

    with pytest.raises(UserError, match="fault of the user") as fault:
        run("user")
    assert fault.value.where == "here"
    with pytest.raises(UserError, match="disk is full") as full:
        run("full")
    assert full.value.where == "/somewhere/x.npz"
    with pytest.raises(ValueError, match="a bug of ours") as bug:
        run("bug")
    assert "in run\n" in bug.value.__notes__[0], "with the traceback of the worker"
    with pytest.raises(RuntimeError, match="an odd error"):
        run("odd")


@pytest.mark.parametrize("workers", [0, 2])
def test_results_and_errors_come_one_by_one_and_further_jobs_are_asked_for(tmp_path: Path, workers: int) -> None:
    further = [["d"], []]
    results = job_results(
        ["a", "bug", "c"], SleeperRecipe(tmp_path), ExecutorConfig(workers), more=lambda: further.pop(0)
    )
    found: dict[str, Any] = {result.job: result.value or result.error for result in results}
    assert isinstance(found.pop("bug"), ValueError)
    assert found == {"a": "A", "c": "C", "d": "D"}
    assert further == []
    assert list(job_results([], SleeperRecipe(tmp_path))) == []


def test_a_run_that_is_given_up_leaves_no_worker(tmp_path: Path) -> None:
    results = job_results(["a", "hang", "c"], SleeperRecipe(tmp_path), ExecutorConfig(2))
    assert next(results).value == "A"
    results.close()
    assert forks.left() == []


def test_a_process_tree_is_ended_as_a_whole() -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); time.sleep(300)"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    limit = time.monotonic() + 120
    while not descendants(parent.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    (child,) = descendants(parent.pid)
    assert end_tree(parent.pid, patience_s=60.0) == []
    parent.wait(60)
    assert gone(child)


def test_ctrl_c_between_two_handlers_leaves_none_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come while the handlers are being put back: SIGTERM must still do what it did."""
    ended: list[int] = []
    set_to, own = signal.signal, signal.getsignal(signal.SIGINT)

    def impatient(number: int, handler: Any) -> Any:
        found = set_to(number, handler)
        if handler is own:
            signal.raise_signal(signal.SIGINT)
        return found

    before = set_to(signal.SIGTERM, lambda number, frame: ended.append(number))
    monkeypatch.setattr(signal, "signal", impatient)
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert ended == [signal.SIGTERM]
    finally:
        set_to(signal.SIGTERM, before)


HANGUP = """
import os, signal, sys, time
from pathlib import Path
from steve1.core.processes import forget_lost_terminal, handling
gone = []
def note(number, frame):
    gone.append(number)
    forget_lost_terminal()
with handling(note, signal.SIGHUP, signal.SIGINT) as before:
    print(sorted(before), flush=True)
    while not gone:
        time.sleep(0.01)
    print("this has nowhere to go", flush=True)
    print("nor this", file=sys.stderr, flush=True)
Path(sys.argv[1]).write_text("saved")
"""


def test_a_terminal_that_is_gone_does_not_end_what_is_being_saved(tmp_path: Path) -> None:
    """SSH that is lost sends SIGHUP, and from then on every print would raise."""

    def in_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a job in the background
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup does to the tests

    terminal, end = pty.openpty()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), end)
    command = [sys.executable, "-c", HANGUP, str(tmp_path / "file")]
    child = subprocess.Popen(command, start_new_session=True, preexec_fn=in_terminal, **streams)
    os.close(end)
    seen = b""
    try:
        while b"]" not in seen:
            seen += os.read(terminal, 100)
        assert seen.strip() == f"[{int(signal.SIGHUP)}]".encode(), "what is ignored stays so"
        os.close(terminal)
        assert child.wait(120) == 0
    finally:
        child.kill()  # it waits for a hangup
    assert (tmp_path / "file").read_text() == "saved"


def test_half_written_files_of_the_dead_are_swept_and_of_the_living_are_not(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead, living, other = (
        tmp_path / "a" / name
        for name in (f".x.npz.{child}.0123abcd.tmp", f".x.npz.{os.getpid()}.0123abcd.tmp", ".hidden")
    )
    dead.parent.mkdir()
    for path in (dead, made(living), other):
        path.touch()
    assert remove_half_written(tmp_path, below=True) == [dead]
    assert living.exists()
    assert other.exists()


def test_ray_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="needs Ray") as fault:
        connected_ray("play here")
    assert "play here" in str(fault.value)


@pytest.mark.parametrize("reason", ["Ray reports 0 CPU free", ""])
def test_workers_that_do_not_start_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """As on a cluster that lacks a package or has no room; where one has started, nothing is said."""

    now = [0.0]

    class Waiting(InlineWorker):
        def why_not_started(self) -> str:
            return reason

        @staticmethod
        def ready(handles: Any, timeout_s: float) -> Any:
            now[0] += timeout_s
            return handles if now[0] > 80 else []

    monkeypatch.setattr("steve1.core.executor.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("steve1.core.executor.run.InlineWorker", Waiting)
    config = ExecutorConfig(workers=0)
    (result,) = job_results(["a"], lambda index: Sleeper(str(tmp_path)), config)
    assert result.error is None
    assert [record.message for record in caplog.records] == (
        [f"no worker has started for 60 s: {reason}"] if reason else []
    )
