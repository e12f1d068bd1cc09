"""The worker: holds one game in the game's own Python and answers the main program.

Input: requests over the inherited socket (start, reset, step, call, close). Output: answers, pictures in the shared memory, a heartbeat
while a request is being answered. Runs on Python 3.8 with numpy alone, started by its path:

    python steve1/envs/worker/serve.py steve1.envs.minecraft.mcio.adapter

An adapter is a module with `make_env(settings) -> Game`. It may import this module, `wire`, `steve1.core.processes` and its own neighbours, by their
full names; the `__init__` files of this project's packages are not run in a worker, so nothing else comes with them.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
import types
from typing import Any, Callable, Dict, Tuple

DESCRIPTORS = "STEVE1_WORKER_FDS"  # "<socket>,<memory>", inherited

Action = Dict[str, Any]
Observation = Dict[str, Any]
Info = Dict[str, Any]
Step = Tuple[Observation, float, bool, bool, Info]


def _bare_packages(module: str) -> None:
    """Make every package of a module's name that lies in this project importable without running its `__init__`."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    parts = module.split(".")[:-1]
    for length in range(1, len(parts) + 1):
        name, folder = ".".join(parts[:length]), os.path.join(root, *parts[:length])
        if os.path.isdir(folder) and name not in sys.modules:
            package = sys.modules[name] = types.ModuleType(name)
            package.__path__ = [folder]  # type: ignore[attr-defined]
            if length > 1:
                setattr(sys.modules[".".join(parts[: length - 1])], parts[length - 1], package)


if __name__ == "__main__":
    # Started by its path: take the script's folder off the path (its names are not top-level ones), and be known by the full name.
    sys.path[:] = [
        entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))
    ]
    _bare_packages("steve1.envs.worker.serve")
    _bare_packages("steve1.core.processes")
    sys.modules["steve1.envs.worker.serve"] = sys.modules["__main__"]

from steve1.core import processes  # noqa: E402  (a worker makes the packages above first)
from steve1.envs.worker import wire  # noqa: E402


class BadInput(Exception):
    """A fault that the user can fix (no Java, an unknown task): shown as it is, and never retried."""

    def __init__(
        self, what: str, *, where: object = "", expected: object = "", got: object = "", todo: str = ""
    ) -> None:
        super().__init__(what)
        self.facts = {"what": what, "where": str(where), "expected": str(expected), "got": str(got), "todo": todo}


class GameFault(Exception):
    """The game died, hangs or answers nonsense: a new worker is started and the episode is repeated."""


class Game:
    """What an adapter's `make_env` returns: one game that is already running.

    Observations and infos are those of `steve1.envs.interface.Env`, in plain values; `obs["pov"]` is u8 (H,W,3) RGB of the size in
    the settings. Send no item whose count is 0.
    """

    facts: dict[str, Any] = {}  # noqa: RUF012  (replaced, never changed in place)
    """What is known of it, such as {"game": "1.21.3", "package": "1.5.0"}; part of WorkerEnv.facts."""

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        """Begin an episode. info["seed"]: the seed in force, where the game reports it (it is compared with the requested one)."""
        raise NotImplementedError

    def step(self, action: Action) -> Step:
        """One tick. `action` has every MineRL button as 0 or 1, and "camera": [pitch, yaw] degrees."""
        raise NotImplementedError

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Anything else that the game's half in the main program needs; plain values."""
        raise BadInput("This game knows no such call.", got=name)

    def pids(self) -> list[int]:
        """Processes that the game needs (its Java). If one ends while a request is being answered, the game counts as dead."""
        return []

    def close(self) -> None:
        """Close the game; what remains is ended from outside."""


class _Heart(threading.Thread):
    """Sends heartbeats while a request is answered, measures memory, and ends everything when the main program is gone."""

    def __init__(self, worker: _Worker, every_s: float) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.worker, self.every_s, self.parent = worker, every_s, os.getppid()
        self.note, self.memory = "", 0
        self._measured = 0.0

    def run(self) -> None:
        while True:
            time.sleep(self.every_s)
            if os.getppid() != self.parent:
                self.worker.end_everything()
            self._measure()
            if self.worker.doing:
                beat = {"beat": self.worker.doing, "note": self.note, "memory": self.memory, "dead": self._dead()}
                try:
                    self.worker.send(beat)
                except OSError:
                    self.worker.end_everything()

    def _measure(self) -> None:
        if time.monotonic() - self._measured > 2.0 * self.every_s:
            self._measured = time.monotonic()
            self.memory = processes.memory(
                {os.getpid(), *processes.descendants(os.getpid()), *processes.marked(self.worker.mark)}
            )

    def _dead(self) -> list[int]:
        try:
            return [pid for pid in self.worker.game.pids() if processes.gone(pid)] if self.worker.game else []
        except Exception:  # an adapter that restarts its game has none to name
            return []


class _Worker:
    def __init__(self, make_env: Callable[[dict[str, Any]], Game], channel: wire.Channel, memory: int) -> None:
        self.make_env, self.channel, self.memory = make_env, channel, memory
        self.mark = os.environ.get(processes.MARK, "")
        self.doing = ""
        self.game: Game | None = None
        self.picture: wire.Picture | None = None
        self.number = 0
        self._lock = threading.Lock()
        self.heart = _Heart(self, float(os.environ.get("STEVE1_WORKER_BEAT_S", "1.0")))

    def send(self, message: wire.Message) -> None:
        with self._lock:
            self.channel.send(message)

    def end_everything(self) -> None:
        """This worker's tree, then itself: nothing runs on without the main program."""
        processes.end_tree(os.getpid(), self.mark)
        os._exit(1)

    def run(self) -> None:
        """Answer until told to close, or until the other side is gone."""
        self.heart.start()
        while True:
            try:
                request = self.channel.receive()
            except (EOFError, OSError, wire.TornError):
                self.end_everything()
                return
            self.doing = str(request["op"])
            answer = self._answer(request)
            answer["id"], answer["memory"] = request["id"], self.heart.memory
            self.doing = ""
            try:
                self.send(answer)
            except OSError:
                self.end_everything()
            if request["op"] == "close":
                return

    def _answer(self, request: wire.Message) -> wire.Message:
        try:
            return getattr(self, "_" + request["op"])(request)
        except BadInput as fault:
            return {"bad": fault.facts}
        except GameFault as fault:
            return {"fault": str(fault)}
        except (Exception, SystemExit) as fault:  # packages of games call sys.exit() when they are unhappy
            traceback.print_exc()
            return {"fault": f"{type(fault).__name__}: {fault}"}

    def _start(self, request: wire.Message) -> wire.Message:
        settings = request["settings"]
        if request["protocol"] != wire.PROTOCOL:
            raise BadInput("The worker speaks another protocol.", expected=request["protocol"], got=wire.PROTOCOL)
        self.picture = wire.Picture(self.memory, settings["width"], settings["height"])
        self.game = self.make_env(settings)
        own = {"python": sys.version.split()[0], "executable": sys.executable, "pid": os.getpid()}
        return {"facts": {**own, "protocol": wire.PROTOCOL, **self.game.facts}}

    def _running(self) -> Game:
        if self.game is None:
            raise GameFault("start comes first")
        return self.game

    def _reset(self, request: wire.Message) -> wire.Message:
        obs, info = self._running().reset(int(request["seed"]), request["options"])
        return self._seen(obs, info)

    def _step(self, request: wire.Message) -> wire.Message:
        obs, reward, terminated, truncated, info = self._running().step(request["action"])
        ends = {"terminated": bool(terminated), "truncated": bool(truncated)}
        return {**self._seen(obs, info), "reward": float(reward), **ends}

    def _seen(self, obs: Observation, info: Info) -> wire.Message:
        assert self.picture is not None, "start comes first"
        self.number += 1
        try:
            self.picture.write(obs["pov"], self.number)
        except ValueError as fault:
            raise GameFault(str(fault)) from None
        rest = {name: value for name, value in obs.items() if name != "pov"}
        return {"obs": rest, "info": info, "picture": self.number}

    def _call(self, request: wire.Message) -> wire.Message:
        return {"value": self._running().call(request["name"], request["arguments"])}

    def _close(self, request: wire.Message) -> wire.Message:
        game, self.game = self.game, None
        if game is not None:
            game.close()
        return {}


_current: _Worker | None = None


def report(note: str) -> None:
    """Report to the main program what is going on ("downloading assets"); shown when a wait is long or fails."""
    if _current is not None:
        _current.heart.note = note


def serve(make_env: Callable[[dict[str, Any]], Game]) -> None:
    """Answer the main program until it closes; `make_env(settings)` starts the game."""
    global _current
    control, memory = (int(part) for part in os.environ.pop(DESCRIPTORS).split(","))
    for descriptor in (control, memory):
        os.set_inheritable(descriptor, False)  # a game that holds our end would hide our death
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main program's business; it closes us in order
    _current = _Worker(make_env, wire.Channel(socket.socket(fileno=control)), memory)
    signal.signal(signal.SIGTERM, lambda *_: _current.end_everything() if _current else sys.exit(1))
    _current.run()
    # A game's own threads must not keep a closed worker.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Serve the adapter named on the command line. If it cannot be imported, the answer to "start" says so."""
    module = arguments[0]
    _bare_packages(module)

    def make_env(settings: dict[str, Any]) -> Game:
        try:
            # Packages import much of themselves only when a game starts.
            return importlib.import_module(module).make_env(settings)
        except ImportError as fault:
            folder = module.split(".")[-2]
            own = folder in ("luanti", "worker")  # run in the project's own Python
            install = "bash tools/setup.sh" if own else "bash tools/install_minecraft.sh " + folder
            raise BadInput(
                "A package of this game is missing in its own Python.", where=sys.executable, got=fault, todo=install
            ) from None

    serve(make_env)


if __name__ == "__main__":
    main(sys.argv[1:])
