"""One worker process, watched: every game is started, waited for and ended here, and nowhere else.

In: a Backend and settings. Out: answers to requests, or GameDied within the stated time, after which no process of the worker is
left. What it hands out (ports, display, folder) is given back when it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from steve1.core.errors import UserError
from steve1.envs.errors import GameDied
from steve1.envs.luanti.processes import end, memory_folder, spawn
from steve1.envs.worker import serve, trees, wire
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.resources import Ports, heap_for, java_environment, needs_xvfb, open_display

_log = logging.getLogger(__name__)
_SCRIPT = Path(serve.__file__).resolve()


class Supervisor:
    """One worker. `start` once, `ask` as often as wanted, `close` at the end; after GameDied it is already closed.

    Attributes:
        facts: what the worker told of itself and its game.
        memory_mb: of its process tree, as last told.
        note: what it last said that it does.
    """

    def __init__(
        self, backend: Backend, *, width: int, height: int, headless: bool | None = None, limits: Limits | None = None
    ) -> None:
        self.backend, self.width, self.height, self.headless = backend, width, height, headless
        self.limits = limits or backend.limits
        self.facts: dict[str, Any] = {}
        self.memory_mb, self.note = 0.0, ""
        self.mark = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.process: subprocess.Popen[bytes] | None = None
        self._channel: wire.Channel | None = None
        self._picture: wire.Picture | None = None
        self._ports: Ports | None = None
        self._display: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._number = 0

    # ---- life ----

    def start(self, settings: dict[str, Any]) -> None:
        """Start the worker and wait until its game runs.

        Raises:
            UserError: something that the game needs is missing. GameDied: it did not start in time.
        """
        assert self.process is None, "a supervisor starts one worker"
        _alive.add(self)
        try:
            given = self._hand_out(settings)
            self._spawn(given)
            self.facts = self.ask("start", self.limits.start_s, protocol=wire.PROTOCOL, settings=given)["facts"]
        except BaseException:
            self._end()
            raise

    def _hand_out(self, settings: dict[str, Any]) -> dict[str, Any]:
        self._ports = Ports(self.backend.ports)
        self._folder = Path(tempfile.mkdtemp(prefix=f"steve1_{self.backend.name}_"))
        own = {"ports": self._ports.numbers, "heap_mb": heap_for(self.backend.heap_mb), "folder": str(self._folder)}
        return {"width": self.width, "height": self.height, **own, **settings}

    def _spawn(self, settings: dict[str, Any]) -> None:
        assert self._folder is not None, "_hand_out comes first"
        environment = {**os.environ, trees.MARK: self.mark}
        environment.pop("PYTHONPATH", None)  # ours; the worker's packages are its own
        environment.update(java_environment(settings["heap_mb"], self._folder, os.environ))
        if self.backend.display and needs_xvfb(self.headless):
            self._display, environment["DISPLAY"] = open_display(self.width, self.height)
            environment.pop("WAYLAND_DISPLAY", None)
        python = self.backend.python()
        ours, theirs = socket.socketpair()
        self._channel = wire.Channel(ours)
        with (
            theirs,
            tempfile.TemporaryFile(dir=memory_folder()) as memory,
            open(self._folder / "worker.log", "wb") as log,
        ):
            memory.truncate(wire.Picture.bytes_for(self.width, self.height))
            self._picture = wire.Picture(memory.fileno(), self.width, self.height)
            descriptors = (theirs.fileno(), memory.fileno())
            environment[serve.DESCRIPTORS] = ",".join(map(str, descriptors))
            command = [python, "-u", str(_SCRIPT), self.backend.module]
            self.process = spawn(
                command, signal.SIGTERM, env=environment, pass_fds=descriptors, stdout=log, stderr=log, cwd=self._folder
            )

    @property
    def running(self) -> bool:
        """Whether there is a worker to ask."""
        return self._channel is not None and self.process is not None

    # ---- talking ----

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            UserError: the worker found a fault that the user can mend.
            GameDied: no answer in time, no heartbeat, a dead process, a torn message, too much memory; all is ended.
        """
        channel = self._channel
        if channel is None or self.process is None:
            raise GameDied("This environment's game is closed.", todo="restart() starts a new one")
        self._number += 1
        began = heard = time.monotonic()
        told = False
        try:
            channel.send({"op": op, "id": self._number, **arguments}, timeout_s)
            while True:
                now = time.monotonic()
                if now - began > timeout_s:
                    self._died(f"no answer to {op} within {timeout_s:g} s")
                if now - heard > self.limits.silence_s:
                    self._died(f"no heartbeat for {self.limits.silence_s:g} s during {op}")
                if not told and now - began > self.limits.long_s:
                    told = True
                    _log.warning("%s: %s takes long (%s)", self.backend.name, op, self.note or "no word of why")
                message = self._next(channel, min(began + timeout_s, heard + self.limits.silence_s) - now)
                if message is not None:
                    heard = time.monotonic()
                    self._hear(message, op)
                    if "beat" not in message:
                        return self._answer(message, op)
        except OSError as fault:  # includes a send that is not taken
            self._died(f"{op}: {fault}")

    def _next(self, channel: wire.Channel, wait_s: float) -> wire.Message | None:
        """The next message; None after a short while without one, so that the caller can look at the clock."""
        try:
            return channel.receive(max(0.001, min(wait_s, 1.0)))
        except TimeoutError:
            return None
        except wire.TornError as fault:
            self._died(f"a torn message: {fault}")
        except EOFError:
            self._died("the worker's process ended")

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

    # ---- death ----

    def _died(self, got: str) -> NoReturn:
        """End everything and raise GameDied with the last lines of the worker's log."""
        code = self.process.poll() if self.process is not None else None
        text = self._last_words()
        self._end()
        got += f" (exit code {code})" if code is not None else ""
        raise GameDied(
            f"The game {self.backend.name} does not run any more.", got=got + (f"; it was at: {self.note}" if self.note else "") + text,
            todo="restart() starts it again; commands that play episodes do so by themselves",
        )  # fmt: skip

    def _last_words(self) -> str:
        if self._folder is None:
            return ""
        with contextlib.suppress(OSError):
            lines = (self._folder / "worker.log").read_bytes()[-4000:].decode(errors="replace").splitlines()
            words = " | ".join(line.strip() for line in lines[-6:] if line.strip())[-600:]
            return f"; its log ends: {words}" if words else ""
        return ""

    def close(self) -> None:
        """Close the game politely, then end whatever is left. May be called at any time, and again."""
        if self.running:
            with contextlib.suppress(GameDied, UserError):
                self.ask("close", self.limits.close_s)
        self._end()

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        process, self.process = self.process, None
        if process is not None:
            self._end_tree(process)
        end(self._display)
        self._display = None
        if self._picture is not None:
            self._picture.close()
            self._picture = None
        if self._ports is not None:
            self._ports.close()
            self._ports = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        _alive.discard(self)

    def _end_tree(self, process: subprocess.Popen[bytes]) -> None:
        left = trees.end_all(process.pid, self.mark, 10.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        if left:
            _log.warning("%s: these processes could not be ended: %s", self.backend.name, json.dumps(left))


_alive: weakref.WeakSet[Supervisor] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for supervisor in list(_alive):
        supervisor._end()
