"""What runs on the pretended card: `python -m tests.devices.cases [NAME …]` prints one JSON object, {case: figures}.

Needs the library of pretend.py (`run_cases` sees to it).
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.policy import TINY
from steve1.agent import Agent
from steve1.core.device import autocast
from steve1.mineclip import MineCLIP, MineCLIPConfig
from steve1.policy import GoalPolicy, PolicyConfig
from steve1.training.batches import Batch, TbpttChunk
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.metrics import MetricsAccumulator
from steve1.training.memory.estimate import Method, estimate
from steve1.training.step import Stepper
from steve1.training.validate import GoalAblation
from tests.devices.learners import ONE_BLOCK, PRECISIONS, REINFORCED, idm_label, idm_step, rl_step
from tests.devices.pretend import CARD, SECOND, Live, pretended, trained_policy, unknown_arrays, with_moments


@dataclasses.dataclass(frozen=True)
class Training:
    """A way of training, and the sizes."""

    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    precision: str = "bf16"
    batch: int = 8
    trunc_t: int = 64
    config: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    card: torch.device = CARD
    validates: bool = True
    masked: bool = False
    """With the mask of corrections: some frames are imitated, the rest is context."""


def made_batch(case: Training, features: bool) -> Batch:
    """A batch of zeros, with every key that training may hand over."""
    config, rows, steps, where = case.config, case.batch, case.trunc_t, case.card
    with where:
        frames = {"features": torch.zeros(rows, steps, 256, dtype=torch.float16)}
        if not features:
            frames = {"frames": torch.zeros(rows, steps, *config.img_shape, dtype=torch.uint8)}
        return {
            **frames,
            "goals": torch.zeros(rows, steps, config.mineclip_embed_dim),
            "first": torch.zeros(rows, steps, dtype=torch.bool),
            "buttons": torch.zeros(rows, steps, dtype=torch.long),
            "camera": torch.zeros(rows, steps, dtype=torch.long),
            "replayed": torch.zeros(rows, steps, dtype=torch.bool),
            **({"imitated": torch.zeros(rows, steps, dtype=torch.bool)} if case.masked else {}),
        }


def train(case: Training) -> dict[str, Any]:
    """An optimizer step with the optimizer's moments there, and one chunk of a validation.

    Returns:
        peak: bytes alive in the step at most; validation: the same while validating; reads: copies to the host in that step and that
        chunk; estimate: the planner's bytes of tensors for it.
    """
    settings = TrainSettings(batch_size=case.batch, trunc_t=case.trunc_t, T=case.trunc_t, **case.settings)
    config, precision = case.config, PRECISIONS[case.precision]
    with pretended() as live:
        policy = trained_policy(case.card, config, settings, live)
        ranks = Ranks(0, 1, case.card)
        stepper = Stepper(policy, settings, ranks, precision)
        metrics = MetricsAccumulator(ranks, stepper.measures, settings.max_grad_norm)

        def chunk() -> TbpttChunk:
            batches = [made_batch(case, settings.feature_cache) for _ in range(settings.gradient_accum_steps)]
            return TbpttChunk(batches, (0, 0), True, False, [], [])

        policy.train()
        with_moments(stepper.optimizer)
        now, following = chunk(), chunk()  # one ahead, as training has it
        states = stepper.initial_states(now)
        live.start()
        output = stepper.step(now, states, 1e-5, 2)
        states = output.states
        metrics.add(output)
        found: dict[str, Any] = {"peak": live.peak, "reads": dict(live.reads)}
        del output, following
        if case.validates:
            stepper.free_gradients()
            live.start()
            found["validation_reads"] = validate(policy, now.micro_batches[0], case, live)
            found["validation"] = live.peak
    memory = estimate(
        config, Method.of(settings), batch=case.batch, trunc_t=case.trunc_t, precision=precision,
        accumulation=settings.gradient_accum_steps,
    )  # fmt: skip
    return {**found, "estimate": memory.tensors}


@torch.no_grad()
def validate(policy: GoalPolicy, batch: Batch, case: Training, live: Live) -> dict[str, int]:
    """A chunk of a validation with everything that is measured; returns its copies to the host."""
    windows = {"first": torch.zeros(case.batch, case.trunc_t, dtype=torch.bool)}
    shape = (case.batch, case.trunc_t, case.config.mineclip_embed_dim)
    windows |= {"goals": torch.zeros(shape), "others": torch.ones(shape)}
    policy.eval()
    ablation = GoalAblation(policy, windows, ActionMetrics())
    with autocast(case.card, PRECISIONS[case.precision]):
        ablation.chunk({**batch, "others": torch.zeros_like(batch["goals"])})
    ablation.finish()
    policy.train()
    return dict(live.reads)


def act(games: int, precision: torch.dtype = torch.float32, card: torch.device = CARD) -> dict[str, Any]:
    """Some guided steps of one game or of several; in the step itself the host reads nothing."""
    with pretended() as live:
        with card:
            policy = GoalPolicy(TINY)
        agent = Agent(policy.to_channels_last().eval(), games=games, precision=precision)
        frames = [np.zeros((128, 128, 3), np.uint8)] * games
        goals = [np.zeros(TINY.mineclip_embed_dim, np.float32)] * games
        with unknown_arrays():
            agent.log_probs(frames, goals)
            live.start()
            log_probs = agent.log_probs(frames, goals)
        return {"reads": dict(live.reads), "device": str(log_probs["buttons"].device)}


def encode(frozen: bool) -> dict[str, Any]:
    """The features of 256 frames at full size, as the cache computes them."""
    with pretended() as live:
        with CARD:
            policy = GoalPolicy(PolicyConfig()).to_channels_last()
            frames = torch.zeros(256, 128, 128, 3, dtype=torch.uint8)
        policy.net.img_process.cnn.requires_grad_(not frozen)
        live.start()
        before = live.now
        with torch.no_grad(), autocast(CARD, torch.bfloat16):
            rows = policy.net.img_process.dense(frames)
        return {"peak": live.peak - before, "shape": list(rows.shape), "reads": dict(live.reads)}


def embed() -> dict[str, Any]:
    """Frames and windows of them through MineCLIP in bf16."""
    config = MineCLIPConfig(vision_layers=2, text_layers=2)
    with pretended() as live:
        with CARD:
            model = MineCLIP(config).eval()
            frames = torch.zeros(32, *config.resolution, 3, dtype=torch.uint8)
        model.autocast = True
        live.start()
        with torch.no_grad():
            features = model.image_features(frames)
            windows = features.unfold(0, config.clip_frames, 1).transpose(1, 2)
            goals = model.video_embedding(windows)
        return {"reads": dict(live.reads), "shape": list(goals.shape), "device": str(goals.device)}


SMALL: dict[str, Any] = {"config": ONE_BLOCK, "batch": 2, "trunc_t": 16}
WAYS: dict[str, dict[str, Any]] = {
    **{f"mode_{mode}": {"finetune_mode": mode} for mode in ("norm_bias", "heads_and_goal", "goal")},
    "features": {"finetune_mode": "frozen_cnn", "feature_cache": True},
    "features_lora": {"finetune_mode": "lora", "feature_cache": True, "l2sp_coef": 0.1, "ema_decay": 0.99},
    "turns": {"turn_loss_weight": 3.0},
    "kl_on_replay": {"keep": "kl", "replay": "old"},
    **{f"masked_{mode}": {"finetune_mode": mode, "turn_loss_weight": 3.0} for mode in ("all", "frozen_cnn")},
    "masked_accumulated": {"finetune_mode": "lora", "gradient_accum_steps": 2, "ema_decay": 0.99},
}
"""Ways of training beside those of SIZES, in small."""
BOTH = ("features_lora", "kl_on_replay")
"""Ways that are tried in float32 too."""
VALIDATED = ("mode_goal", "features")
"""Ways with a validation of their own; the others' is one of these or of SIZES."""
STEPS = [f"{way}_{precision}" for way in WAYS for precision in PRECISIONS if precision == "bf16" or way in BOTH]
# The planner's table is compared with these: every way that its model tells apart, at full size. They are looked at for copies too.
SIZES: dict[str, Training] = {
    "all": Training(),
    "all_b1_fp32": Training(precision="fp32", batch=1, validates=False),
    "light": Training({"activation_checkpointing": "light"}, validates=False),
    "light_b1_accumulated": Training(
        {"activation_checkpointing": "light", "gradient_accum_steps": 2}, batch=1, validates=False
    ),
    "light_fp32": Training({"activation_checkpointing": "light"}, precision="fp32", batch=2, validates=False),
    "full_factored": Training({"activation_checkpointing": "full", "optimizer": "factored"}, batch=1, validates=False),
    "ema_l2sp_kl": Training({"ema_decay": 0.99, "l2sp_coef": 0.1, "kl_coef": 0.1}, batch=2, validates=False),
    "frozen_cnn": Training({"finetune_mode": "frozen_cnn"}),
    "lora": Training({"finetune_mode": "lora"}),
    "features": Training({"finetune_mode": "heads_and_goal", "feature_cache": True}),
    **{
        f"features_kl_{mode}": Training(
            {"finetune_mode": mode, "feature_cache": True, "keep": "kl", "replay": "old"}, validates=False
        )
        for mode in ("frozen_cnn", "lora", "heads_and_goal")
    },
}
CASES: dict[str, Callable[[], dict[str, Any]]] = {
    **{
        f"{name}_{precision}": lambda name=name, settings=settings, precision=precision: train(
            Training(settings, precision, validates=name in VALIDATED, masked=name.startswith("masked"), **SMALL)
        )  # type: ignore[misc]
        for name, settings in WAYS.items()
        for precision in (PRECISIONS if name in BOTH else ("bf16",))
    },
    "second_card": lambda: train(Training(card=SECOND, validates=False, **SMALL)),
    "act_one": lambda: act(1),
    "act_many": lambda: act(5),
    "act_many_bf16": lambda: act(5, torch.bfloat16),
    "act_second_card": lambda: act(3, card=SECOND),
    **{f"rl_{name}": lambda case=case: rl_step(case) for name, case in REINFORCED.items()},  # type: ignore[misc]
    **{f"idm_{name}": lambda precision=precision: idm_step(precision) for name, precision in PRECISIONS.items()},  # type: ignore[misc]
    "idm_label": idm_label,
    "encode": lambda: encode(frozen=True),
    "embed": embed,
    **{f"size_{name}": lambda case=case: train(case) for name, case in SIZES.items()},  # type: ignore[misc]
}


def main(names: list[str]) -> None:
    """Run the cases and print what they found; a fault of one is its result."""
    warnings.filterwarnings("ignore")
    gc.freeze()  # the modules stay: looking through them again and again took a tenth of the time
    found: dict[str, Any] = {}
    for name in names or CASES:
        try:
            found[name] = CASES[name]()
        except Exception:
            found[name] = {"fault": traceback.format_exc(limit=-6)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
