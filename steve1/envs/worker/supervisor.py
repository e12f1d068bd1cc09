"""Starts one worker process, asks it, watches it and ends it, whatever happens to it.

Answers come within the stated time, or GameDied is raised and no process of the worker is left. What the worker was handed (ports,
display, folder) is given back when it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from steve1.core.errors import UserError
from steve1.core.processes import MARK, end, end_tree, spawn
from steve1.envs.interface import GameDied
from steve1.envs.worker import serve, wire
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.resources import Ports, heap_for, java_environment, memory_folder, needs_xvfb, open_display

_log = logging.getLogger(__name__)
_SCRIPT = Path(serve.__file__).resolve()


class Supervisor:
    """One worker. `start` once, `ask` as often as wanted, `close` at the end; after GameDied it is already closed.

    Attributes:
        facts: what the worker reported about itself and its game.
        memory_mb: of its process tree, as last reported.
        note: what it last reported to be doing.
    """

    def __init__(self, backend: Backend, limits: Limits, *, width: int, height: int, headless: bool | None) -> None:
        self.backend, self.limits = backend, limits
        self.width, self.height, self.headless = width, height, headless
        self.facts: dict[str, Any] = {}
        self.memory_mb, self.note = 0.0, ""
        self.mark = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: list[int] = []
        self._held = contextlib.ExitStack()  # released in the reverse order
        self._channel: wire.Channel | None = None
        self._picture: wire.Picture | None = None
        self._log_file = Path()
        self._number = 0

    # ---- start ----

    def start(self, settings: dict[str, Any]) -> None:
        """Start the worker and wait until its game runs.

        Raises:
            UserError: something that the game needs is missing. GameDied: it did not start in time.
        """
        assert self.process is None, "a supervisor starts one worker"
        atexit.register(self._end)
        try:
            self.ports = self._held.enter_context(contextlib.closing(Ports(self.backend.ports))).numbers
            folder = tempfile.TemporaryDirectory(prefix=f"steve1_{self.backend.name}_", ignore_cleanup_errors=True)
            given = {
                "width": self.width, "height": self.height, "ports": self.ports, "heap_mb": heap_for(self.backend.heap_mb),
                "folder": self._held.enter_context(folder), **settings,
            }  # fmt: skip
            self._spawn(given)
            self.facts = self.ask("start", self.limits.start_s, protocol=wire.PROTOCOL, settings=given)["facts"]
        except BaseException:
            self._end()
            raise

    def _spawn(self, settings: dict[str, Any]) -> None:
        folder = Path(settings["folder"])
        environment = {**os.environ, MARK: self.mark}
        environment.pop("PYTHONPATH", None)  # ours; the worker's packages are its own
        environment.update(java_environment(settings["heap_mb"], folder, os.environ))
        if self.backend.display and needs_xvfb(self.headless):
            display, environment["DISPLAY"] = open_display(self.width, self.height)
            self._held.callback(end, display)
            environment.pop("WAYLAND_DISPLAY", None)
        command = [self.backend.python(), "-u", str(_SCRIPT), self.backend.module]
        ours, theirs = socket.socketpair()
        self._channel = self._held.enter_context(contextlib.closing(wire.Channel(ours)))
        self._log_file = folder / "worker.log"
        with theirs, tempfile.TemporaryFile(dir=memory_folder()) as memory, open(self._log_file, "wb") as log:
            memory.truncate(wire.Picture.bytes_for(self.width, self.height))
            picture = wire.Picture(memory.fileno(), self.width, self.height)
            self._picture = self._held.enter_context(contextlib.closing(picture))
            descriptors = (theirs.fileno(), memory.fileno())
            environment[serve.DESCRIPTORS] = ",".join(map(str, descriptors))
            self.process = spawn(
                command, signal.SIGTERM, env=environment, pass_fds=descriptors, stdout=log, stderr=log, cwd=folder
            )
            self._held.callback(self._end_tree, self.process)

    @property
    def running(self) -> bool:
        """Whether there is a worker to ask."""
        return self._channel is not None and self.process is not None

    # ---- requests ----

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            UserError: the worker found a fault that the user can fix.
            GameDied: no answer in time, no heartbeat, a dead process, a torn message, too much memory; all is ended.
        """
        channel = self._channel
        if channel is None or self.process is None:
            raise GameDied("This environment's game is closed.", todo="restart() starts a new one")
        self._number += 1
        began = heard = time.monotonic()
        warned = False
        try:
            channel.send({"op": op, "id": self._number, **arguments}, timeout_s)
            while True:
                now = time.monotonic()
                if now - began > timeout_s:
                    self._died(f"no answer to {op} within {timeout_s:g} s")
                if now - heard > self.limits.silence_s:
                    self._died(f"no heartbeat for {self.limits.silence_s:g} s during {op}")
                if not warned and now - began > self.limits.long_s:
                    warned = True
                    slow = "%s: %s has taken %.0f s so far; it may take up to %.0f s"
                    _log.warning(slow, self.backend.name, self.note or op, now - began, timeout_s)
                wait_s = min(began + timeout_s, heard + self.limits.silence_s) - now
                with contextlib.suppress(TimeoutError):
                    # A second at most, then the clock is looked at.
                    message = channel.receive(max(0.001, min(wait_s, 1.0)))
                    heard = time.monotonic()
                    self._hear(message, op)
                    if "beat" not in message:
                        return self._answer(message, op)
        except wire.TornError as fault:
            self._died(f"a torn message: {fault}")
        except EOFError:
            self._died("the worker's process ended")
        except OSError as fault:  # includes a send that is not taken
            self._died(f"{op}: {fault}")

    def _hear(self, message: wire.Message, op: str) -> None:
        self.memory_mb = float(message.get("memory") or 0) / 1e6
        self.note = message.get("note") or self.note
        if message.get("dead"):
            self._died(f"the game's process {message['dead'][0]} ended during {op}")
        if self.memory_mb > self.limits.memory_mb:
            self._died(f"{self.memory_mb:.0f} MB of memory, more than the {self.limits.memory_mb:.0f} that it may have")

    def _answer(self, message: wire.Message, op: str) -> wire.Message:
        if message.get("id") != self._number:
            self._died(f"an answer to another request ({message.get('id')}, not {self._number})")
        if "bad" in message:
            raise UserError(**message["bad"])
        if "fault" in message:
            self._died(f"{op}: {message['fault']}")
        return message

    def picture(self, number: int) -> np.ndarray:
        """The picture that came with an answer, u8 (H,W,3) RGB; a copy."""
        assert self._picture is not None, "start comes first"
        try:
            return self._picture.read(number)
        except wire.TornError as fault:
            self._died(str(fault))

    # ---- end ----

    def _died(self, got: str) -> NoReturn:
        """End everything and raise GameDied with the last lines of the worker's log."""
        code = self.process.poll() if self.process is not None else None
        got = f"{got} (exit code {code})" if code is not None else got
        got = f"{got}; it was at: {self.note}" if self.note else got
        with contextlib.suppress(OSError):
            lines = self._log_file.read_bytes()[-4000:].decode(errors="replace").splitlines()
            words = " | ".join(line.strip() for line in lines[-6:] if line.strip())[-600:]
            got = f"{got}; its log ends: {words}" if words else got
        self._end()
        raise GameDied(
            f"The game {self.backend.name} does not run any more.",
            got=got,
            todo="restart() starts it again; commands that play episodes do so by themselves",
        )

    def close(self) -> None:
        """Close the game politely, then end whatever is left. May be called at any time, and again."""
        if self.running:
            with contextlib.suppress(GameDied, UserError):
                self.ask("close", self.limits.close_s)
        self._end()

    def _end(self) -> None:
        """End the worker and give back what it was handed, without asking."""
        self._held.close()
        self._channel = self._picture = self.process = None
        atexit.unregister(self._end)

    def _end_tree(self, process: subprocess.Popen[bytes]) -> None:
        left = end_tree(process.pid, self.mark, 10.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        if left:
            _log.warning("%s: these processes could not be ended: %s", self.backend.name, left)
