"""Reinforcement learning and the inverse dynamics model on the pretended card; `cases.py` runs them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from benchmarks.policy import TINY
from steve1.core.device import autocast
from steve1.idm import InverseDynamicsModel
from steve1.idm.label import label, window_plan
from steve1.idm.training.loop import optimize
from steve1.idm.training.settings import MINI
from steve1.idm.training.windows import IdmBatch
from steve1.policy import PolicyConfig
from steve1.policy.parameters import parameter_groups
from steve1.rl.keep import PlayedPrompts
from steve1.rl.passes import CHUNK
from steve1.rl.rollouts import Rollout
from steve1.rl.settings import RlSettings
from steve1.rl.update import Judged, Learner
from steve1.training.memory.estimate import Method, estimate
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.trainable import frozen_copy
from tests.devices.pretend import CARD, SECOND, pretended, trained_policy, unknown_arrays, with_moments

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
ONE_BLOCK = dataclasses.replace(TINY, n_recurrence_layers=1)
VIDEO = 40
"""Frames of the video that is labelled."""


@dataclasses.dataclass(frozen=True)
class Reinforced:
    """A way of reinforcement learning: eight episodes of two start states, played with guidance."""

    method: str
    mode: str = "frozen_cnn"
    config: PolicyConfig = ONE_BLOCK
    steps: int = 40
    card: torch.device = CARD


def made_rollout(case: Reinforced, group: int, earned: float) -> Rollout:
    """An episode of zeros."""
    frames, steps = case.mode == "all", case.steps
    return Rollout(
        key="",
        group=group,
        buttons=np.zeros(steps, np.int64),
        camera=np.zeros(steps, np.int64),
        images=np.zeros((steps, 128, 128, 3), np.uint8) if frames else np.zeros((steps, 256), np.float32),
        log_p=np.zeros(steps, np.float32),
        goal=np.zeros(case.config.mineclip_embed_dim, np.float32),
        reward=np.full(steps, earned),
        parts={},
        success=earned > 0,
        facts={},
    )


def rl_step(case: Reinforced) -> dict[str, Any]:
    """A learning step with the moments there, the pull towards the start, and kept episodes (none where a goal is tuned).

    Returns:
        peak: bytes alive in the step at most; held: those of the starting policy's latents, which are computed once; reads: copies to the
        host; estimate: the planner's tensors for rows under the goal and under none.
    """
    settings = RlSettings(
        method=case.method, finetune_mode=case.mode, places=2, group=4, minibatches=1, value="none", centre="group"
    )  # type: ignore[arg-type]
    settings.check()
    training, config = settings.training(""), case.config
    rollouts = [made_rollout(case, number // 4, float(number % 4)) for number in range(8)]
    part = list(range(len(rollouts)))
    with pretended() as live, unknown_arrays():
        policy = trained_policy(case.card, config, training, live)
        start = frozen_copy(policy)
        with case.card:
            latents = [torch.zeros(case.steps, config.hidsize) for _ in rollouts]
        kept = None if case.mode == "goal" else PlayedPrompts(rollouts[:3], 0, latents[:3])
        optimizer = make_optimizer(policy, training)
        with_moments(optimizer)
        learner = Learner(policy, start, optimizer, settings, kept, cond_scale=1.0)
        series = [np.zeros(case.steps) for _ in rollouts]
        judged = Judged(rollouts, series, series, np.ones(len(rollouts)), 0.0, 0.0, 0.0, 0.0)
        live.start()
        figures = learner._step(judged, part, 0.1, 0, 1, latents)
        found = {"peak": live.peak, "reads": dict(live.reads), "device": str(figures["loss"].device)}
    frozen = not training.mode.trains_cnn  # then features come with the episodes
    planned = Method.of(
        dataclasses.replace(training, feature_cache=frozen, kl_coef=settings.kl_coef, trunc_t=min(CHUNK, case.steps))
    )
    memory = estimate(config, planned, batch=2 * len(rollouts), trunc_t=min(CHUNK, case.steps), precision=torch.float32)
    return {
        **found,
        "held": 2 * len(rollouts) * case.steps * config.hidsize * 4,
        "estimate": memory.tensors,
    }


def idm_model(card: torch.device) -> InverseDynamicsModel:
    """Small, with the motion input."""
    sizes: dict[str, Any] = {"hidsize": 48, "timesteps": 16, "attention_memory_size": 16, "n_recurrence_layers": 1}
    with card:
        return InverseDynamicsModel(dataclasses.replace(MINI, **sizes, impala_chans=(2, 4, 4)))


def idm_step(precision: torch.dtype) -> dict[str, Any]:
    """A step of an inverse dynamics model's training, with the moments there."""
    with pretended() as live:
        model = idm_model(SECOND)
        optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), 1e-3, fused=True)
        window = model.config.timesteps
        shapes = ((2, window, 128, 128, 3), (2, window, 20), (2, window, 2))
        frames, buttons, camera = (torch.zeros(shape, dtype=torch.long) for shape in shapes)
        batch = IdmBatch(frames.to(torch.uint8), buttons, camera)
        with_moments(optimizer)
        live.start()
        measured = optimize(model, optimizer, batch, 1e-3, 5.0, autocast(SECOND, precision))
        return {"reads": dict(live.reads), "device": str(measured.device)}


def idm_label() -> dict[str, Any]:
    """A video, labelled window by window: the host reads each window's answers, and nothing else."""
    with pretended() as live, unknown_arrays():
        model = idm_model(CARD).eval()
        live.start()
        found = label(model, np.zeros((VIDEO, 128, 128, 3), np.uint8))
        windows = len(window_plan(VIDEO, model.config.timesteps, model.config.timesteps // 2, "aligned"))
        return {"reads": dict(live.reads), "windows": windows, "frames": len(found.buttons)}


FULL: dict[str, Any] = {"config": PolicyConfig(), "steps": 64}
REINFORCED: dict[str, Reinforced] = {
    "ppo_frozen_cnn": Reinforced("ppo", **FULL),
    "ppo_all": Reinforced("ppo", "all"),
    "group_frozen_cnn": Reinforced("group"),
    "group_all": Reinforced("group", "all"),
    "clone_frozen_cnn": Reinforced("clone"),
    "clone_all": Reinforced("clone", "all", **FULL),
    "preference_goal": Reinforced("preference", "goal", steps=CHUNK + 16),
    "ppo_lora_second_card": Reinforced("ppo", "lora", card=SECOND),
}
