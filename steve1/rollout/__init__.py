"""Playing: one episode, its trace, its video, and games that die on the way.

In: an agent or a scripted player, an environment, a goal. Out: traces and videos. No model is loaded and no task is judged here.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from steve1.rollout.play import Actor, DoNothing, GoalActor, RandomActions, play, rollout
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace

__all__ = ["Actor", "DoNothing", "GoalActor", "RandomActions", "SupervisedEnv", "Trace", "play", "rollout"]


class _CallableRoom(types.ModuleType):
    """The public name `steve1.rollout` is a function, and this folder has the same name: calling either one works."""

    def __call__(self, *args: Any, **settings: Any) -> Trace:
        return rollout(*args, **settings)


sys.modules[__name__].__class__ = _CallableRoom
