"""Games in worker processes with interpreters of their own: the protocol, and the supervision that is the same for all.

In: a Backend (which Python, which adapter, what it needs). Out: an environment (`steve1.envs.interface.Env`) whose game can hang, die
or fill the memory without harm. docs/technical/GAME_PROTOCOL.md describes what travels.
"""

from __future__ import annotations

from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.env import WorkerEnv

__all__ = ["Backend", "Limits", "WorkerEnv"]
