"""Commands that are killed, and commands whose processes are: one message, exit code 2, nothing half-written, and the same command goes on."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from steve1.core.files import HALF_WRITTEN
from steve1.envs.interface import GameDied
from tests import forks, test_situations
from tests.rollout.test_record import PlainGame
from tests.test_situations import CASES, World

Open = Callable[[str], World]
inputs, open_world = test_situations.inputs, test_situations.open_world  # fixtures


def half_written(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if HALF_WRITTEN.fullmatch(path.name) or path.name.endswith(".part")]


# ---- the command itself ----

KILLED = ["embed", "record", "evaluate", "cache_features", "train_prior", "export_dataset"]


def _command(folder: Path, name: str, moment: int) -> None:
    """Run a command; before it gives the file number `moment` its name, kill this process."""
    left, rename = moment, os.replace

    def dying(*args: Any, **more: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*args, **more)

    os.replace = dying  # type: ignore[assignment]
    world = World(folder)
    with pytest.MonkeyPatch.context() as patch:
        world.enter(patch)
        code, out, err = world.call(name)
    print(out, err)
    sys.stdout.flush()
    os._exit(code)


@pytest.mark.e2e
@forks.needs_forkserver
@pytest.mark.parametrize("name", KILLED)
def test_a_killed_command_is_finished_by_the_same_command(name: str, open_world: Open, tmp_path: Path) -> None:
    world, log = open_world("killed"), tmp_path / "said"
    whole = open_world("whole")
    for folder, moments in ((whole.folder, [0]), (world.folder, [1, 2, 0])):
        codes = []
        for moment in moments:
            child = forks.start(_command, folder, name, moment, log=log)
            child.join(250)
            codes.append(child.exitcode)
        assert codes[-1] == 0, log.read_text()
        assert codes[0] == (0 if folder is whole.folder else -signal.SIGKILL), log.read_text()
    assert half_written(world.folder) == []
    assert (world.folder / CASES[name].leaves).exists()
    files = [
        # A cache's files have a hash of their episode's path in their names.
        {
            re.sub("-[0-9a-f]{12}", "", str(path.relative_to(folder)))
            for path in folder.rglob("*")
            if "tfevents" not in path.name
        }
        for folder in (world.folder, whole.folder)
    ]
    assert files[0] ^ files[1] == set()


# ---- its processes ----


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kills every process that this one starts as soon as it is there; those that were killed."""
    killed: list[int] = []
    for kind in (ForkServerProcess, ForkProcess):
        begin = kind._Popen  # type: ignore[attr-defined]

        def killed_at_once(process: BaseProcess, begin: Callable[[BaseProcess], Any] = begin) -> Any:
            popen = begin(process)
            os.kill(popen.pid, signal.SIGKILL)
            killed.append(popen.pid)
            return popen

        monkeypatch.setattr(kind, "_Popen", staticmethod(killed_at_once))
    return killed


PROCESSES = {
    "train, one loader": ("train", "--num_workers 1"),
    "train, two loaders": ("train", "--num_workers 2"),
    "validate_dataset": ("validate_dataset", "--workers 2"),
    "inspect_dataset": ("inspect_dataset", "--workers 2"),
    "convert": ("convert", "--workers 2"),
    "evaluate, one worker": ("evaluate", "--workers 1"),
    "evaluate, two workers": ("evaluate", "--workers 2"),
    "evaluate, batched": ("evaluate", "--workers 2 --batched"),
}


@pytest.mark.e2e
@forks.needs_forkserver
@pytest.mark.parametrize("case", PROCESSES)
def test_a_command_whose_processes_are_killed_ends_at_once(
    case: str, open_world: Open, killing: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # what tests before this one left
    unseen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unseen.append)
    name, words = PROCESSES[case]
    world = open_world("w")
    for ending in (".mp4", ".jsonl"):
        shutil.copy(world.folder / "raw" / f"rec 1{ending}", world.folder / "raw" / f"rec 2{ending}")
    began = time.monotonic()
    code, out, err = world.call(name, words)
    assert time.monotonic() - began < 240
    assert killing, "nothing was killed"
    assert (code, err.count("error:")) == (2, 1) or name == "convert", out + err
    assert code == 2
    assert "Traceback" not in out + err
    assert "died" in out + err or "did not start" in err
    assert half_written(world.folder) == []
    until = time.monotonic() + 60  # the last may still be ending
    while (left := [pid for pid in forks.workers() if pid not in killing]) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []
    gc.collect()
    assert unseen == [], unseen[0]


class DyingGame(PlainGame):
    """Ends at its third step."""

    def step(self, action: dict[str, Any]) -> Any:
        if self.step_number == 2:
            raise GameDied("The game ended.")
        return super().step(action)


@pytest.mark.parametrize("games", [1, 2])
def test_a_recorder_whose_games_die_ends_with_one_message(
    games: int, open_world: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world("w")
    monkeypatch.setattr("steve1.commands.data.record.make_env", lambda *args, **more: DyingGame())
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    code, out, err = world.call("record", f"--workers {games} --episodes 4")
    assert (code, err.count("error:")) == (2, 1), out + err
    assert "The game died too often" in err
    assert "Traceback" not in err
    assert half_written(world.folder) == []
    assert list((world.folder / "out").glob("*.mp4")) == []
