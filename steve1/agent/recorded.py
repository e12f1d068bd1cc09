"""An agent whose step is one launch: on CUDA it is recorded once as a graph and replayed.

Comes in: what `Agent` takes. Goes out: the same actions within rounding, without the hundreds of launches that a step of a few frames mostly consists of. Without
CUDA the same fixed memory is stepped through operation by operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.agent.agent import Agent, Goal
from steve1.agent.batch import BatchAgent
from steve1.core.frames import agent_frame
from steve1.policy import GoalPolicy, PolicyState


class RecordedAgent(Agent):
    """An `Agent` over `BatchAgent`'s step with one game.

    Args:
        policy: its weights must not change while this is used; the recording reads them where they lie.
        precision: torch.bfloat16 plays with a copy of the weights in that precision.
        more: as Agent's: cond_scale, seed, deterministic, temperature.
    """

    def __init__(self, policy: GoalPolicy, *, precision: torch.dtype = torch.float32, **more: Any) -> None:
        super().__init__(policy, **more)
        self._stepper = BatchAgent(
            policy, 1, cond_scale=self.cond_scale, precision=precision, graph=policy.device.type == "cuda"
        )
        self._no_goal = torch.zeros((1, policy.config.mineclip_embed_dim))

    def reset(self, seed: int | None = None) -> None:
        """As Agent's; what was recorded stays."""
        super().reset(seed)
        self._stepper.reset()

    @property
    def state(self) -> PolicyState:
        """As Agent's."""
        return self._stepper.state

    @torch.inference_mode()
    def action_log_probs(self, frame: NDArray[np.uint8], goal: Goal) -> dict[str, Tensor]:
        """As Agent's."""
        goals = self._no_goal if goal is None else self._goal_tensor(goal)[None]
        found = self._stepper.log_probs(agent_frame(frame)[None], goals)
        return {
            name: rows[0].to("cpu", copy=True) for name, rows in found.items()
        }  # the next step writes over the rows
