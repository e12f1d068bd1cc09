"""What the supervisor must know of a game: which Python, which adapter, how long to wait, what to hand out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Limits:
    """Longest waits, in seconds, and the most memory; what is exceeded ends the worker with its whole tree.

    Attributes:
        start_s: from the worker's start until its game runs.
        reset_s: one reset.
        step_s: one step.
        call_s: any other request.
        close_s: a polite end.
        silence_s: without a heartbeat while something is being done (a process that is stopped, or stuck in foreign code).
        memory_mb: of the worker and everything below it. Above 80 % of it the next reset starts a fresh game first.
        long_s: a wait longer than this is logged, with what the worker says that it does.
    """

    start_s: float = 300.0
    reset_s: float = 180.0
    step_s: float = 30.0
    call_s: float = 60.0
    close_s: float = 10.0
    silence_s: float = 60.0
    memory_mb: float = 8000.0
    long_s: float = 20.0


@dataclasses.dataclass(frozen=True)
class Backend:
    """One game.

    Attributes:
        name: as in `--env`.
        module: the adapter that the worker imports; has `make_env(settings) -> Game`.
        python: finds the interpreter; raises UserError with the command that installs it.
        limits: see Limits.
        display: whether it draws in a window; without a display, or with `headless`, Xvfb gives one.
        ports: how many free TCP ports it is handed (`settings["ports"]`).
        heap_mb: Java's heap, where it has one; 0: none. Fitted to what the machine has free, and given to every Java below the worker.
        confirms_seed: whether info["seed"] of a reset is the seed that the game really used.
    """

    name: str
    module: str
    python: Callable[[], str]
    limits: Limits = Limits()
    display: bool = False
    ports: int = 0
    heap_mb: int = 0
    confirms_seed: bool = False
