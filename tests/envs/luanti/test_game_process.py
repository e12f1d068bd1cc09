"""Owning processes, with a stand-in for the game and the X server: ports, hangs, crashes, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steve1.core.paths import ROOT
from steve1.core.processes import end, spawn
from steve1.envs.interface import GameDied
from steve1.envs.luanti.game_process import PREFIX, GameProcess, remove_left_behind
from steve1.envs.worker.resources import Ports, memory_folder, start_xvfb

FAKE_XVFB = """
import os, sys, time
os.write(int(sys.argv[sys.argv.index("-displayfd") + 1]), b"77\\n")
time.sleep(600)
"""
FAKE_GAME = """
import os, socket, sys, time
control = socket.socket(fileno=int(os.environ["STEVE_FD"]))
control.send(b"d")
ticks = 0
while control.recv(1) == b"g":
    ticks += 1
    if sys.argv[1] == "hang" and ticks == 3:
        time.sleep(600)
    if sys.argv[1] == "crash" and ticks == 3:
        sys.stderr.write("ERROR: the sky fell\\n")
        os._exit(7)
    control.send(b"d")
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, within_s: float = 60.0) -> bool:
    limit = time.monotonic() + within_s
    while alive(pid):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def xvfb(tmp_path: Path) -> str:
    path, script = tmp_path / "xvfb", tmp_path / "xvfb.py"
    script.write_text(FAKE_XVFB)
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n'
    )  # a first line with a blank starts nothing
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def process(xvfb: str) -> Iterator[GameProcess]:
    process = GameProcess(xvfb=xvfb, width=64, height=36, timeout_s=120.0)
    yield process
    process.close()


def begin(process: GameProcess, how: str) -> tuple[int, int]:
    folder = process.open_folder()
    (folder / "game.py").write_text(FAKE_GAME)
    process.start([sys.executable, str(folder / "game.py"), how], {})
    process.wait_done()
    assert process.game is not None
    assert process.xserver is not None
    return process.game.pid, process.xserver.pid


def test_ticks_go_back_and_forth_and_close_leaves_nothing(process: GameProcess) -> None:
    pids = begin(process, "play")
    folder = process.folder
    for _ in range(5):
        process.go()
    assert process.display == 77
    process.close()
    assert all(gone(pid) for pid in pids)
    assert not folder.exists()
    process.close()  # twice is harmless
    again = begin(process, "play")
    process.go()
    assert set(again).isdisjoint(pids)


@pytest.mark.e2e
def test_a_hang_ends_after_the_limit(process: GameProcess) -> None:
    pids = begin(process, "hang")
    process.go()
    process.go()
    process.timeout_s = 1.0
    assert process.control is not None
    process.control.settimeout(1.0)
    begun = time.monotonic()
    with pytest.raises(GameDied, match="does not run") as fault:
        process.go()
    assert 0.8 < time.monotonic() - begun < 200
    assert "no answer within 1 s" in str(fault.value)
    assert "X server: alive" in str(fault.value)
    assert "threads: main S" in str(fault.value), "where it hangs is told before it is ended"
    assert all(gone(pid) for pid in pids)


def test_a_crash_is_told_with_its_log(process: GameProcess) -> None:
    pids = begin(process, "crash")
    with pytest.raises(GameDied) as fault:
        for _ in range(5):
            process.go()
    assert "the sky fell" in str(fault.value)
    assert all(gone(pid) for pid in pids)


def test_a_killed_game_is_noticed(process: GameProcess) -> None:
    game, _ = begin(process, "play")
    os.kill(game, signal.SIGKILL)
    with pytest.raises(GameDied):
        for _ in range(3):
            process.go()


def test_two_instances_share_nothing_and_leave_each_other_alone(xvfb: str) -> None:
    one, two = (GameProcess(xvfb=xvfb, width=64, height=36, timeout_s=120.0) for _ in range(2))
    try:
        first, second = begin(one, "play"), begin(two, "play")
        assert one.port != two.port
        assert one.folder != two.folder
        one.close()
        assert all(gone(pid) for pid in first)
        assert all(alive(pid) for pid in second)
        two.go()
    finally:
        one.close()
        two.close()


def test_ports_are_not_given_twice() -> None:
    got = [Ports(1, 20_000, 32_000, udp=True) for _ in range(30)]
    assert len({ports.numbers[0] for ports in got}) == 30
    for ports in got:
        ports.close()
    again = Ports(1, got[0].numbers[0], got[0].numbers[0] + 1, udp=True)
    assert again.numbers == got[0].numbers, "what was given back can be had again"
    again.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's death signal is Linux's")
def test_children_die_with_a_killed_parent(xvfb: str, tmp_path: Path) -> None:
    memory = tmp_path / "memory"  # of its own: other games that start at this moment sweep the usual one
    memory.mkdir()
    code = f"""
        import pathlib, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from tests.envs.luanti.test_game_process import begin
        from steve1.envs.luanti import game_process
        game_process.memory_folder = lambda: pathlib.Path({str(memory)!r})
        process = game_process.GameProcess(xvfb={xvfb!r}, width=64, height=36, timeout_s=120)
        print(*begin(process, "play"), process.folder, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    game, xserver, folder = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    assert gone(int(game))
    assert gone(int(xserver))
    os.utime(folder, (1, 1))  # folders younger than five seconds are left alone
    assert remove_left_behind(memory) == 1
    assert not Path(folder).exists()


def test_folders_of_living_instances_are_kept(process: GameProcess) -> None:
    begin(process, "play")
    os.utime(process.folder, (1, 1))
    remove_left_behind(memory_folder())
    assert process.folder.is_dir()
    assert process.folder.name.startswith(PREFIX)


def test_stubborn_processes_end_too() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process = spawn([sys.executable, "-c", code], signal.SIGKILL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    end(process, patience_s=0.3)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL
    process.stdout.close()


def test_an_x_server_that_fails_is_told(tmp_path: Path) -> None:
    path = tmp_path / "xvfb"
    path.write_text("#!/bin/sh\nexit 3\n")
    path.chmod(0o755)
    with pytest.raises(GameDied, match="X server"):
        start_xvfb(str(path), 64, 36)
