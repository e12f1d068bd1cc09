"""Room `training`, what is trained.

In: a policy and the settings' choice. Out: the same policy, of which only the chosen parameters take gradients (and so have a
place in the optimizer), and sentences on how many they are and how much memory they take.
"""

from __future__ import annotations

import torch
from torch import nn

from steve1.core.errors import UserError
from steve1.policy import GoalPolicy
from steve1.reporting.numbers import percent
from steve1.training.checks import lora_targets
from steve1.training.config import TrainSettings
from steve1.training.lora import add_lora, merged_state
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS

TUNED_GOAL = "tuned_goal"


def choose_trained(policy: GoalPolicy, settings: TrainSettings, goal: torch.Tensor | None = None) -> None:
    """Let only what `settings.finetune_mode` says take gradients; in place.

    Args:
        goal: (E,) f32, where goal tuning begins.
    """
    parts = settings.finetune_mode
    if parts == "all":
        return
    if parts == "frozen_cnn":
        policy.net.img_process.cnn.requires_grad_(False)
    elif parts == "lora":
        add_lora(policy, lora_targets(settings), settings.lora_rank, settings.lora_alpha, settings.seed)
    elif parts == "heads_and_goal":
        policy.requires_grad_(False)
        policy.net.mineclip_embed_linear.requires_grad_(True)
        policy.pi_head.requires_grad_(True)
    elif parts == "norm_bias":
        _norms_and_biases(policy)
    elif parts == "goal":
        assert goal is not None, "goal tuning begins somewhere"
        policy.requires_grad_(False)
        policy.register_parameter(TUNED_GOAL, nn.Parameter(goal.detach().clone().float().to(policy.device)))


def _norms_and_biases(policy: GoalPolicy) -> None:
    policy.requires_grad_(False)
    for module in (policy.net, policy.pi_head):  # never the value head
        for part in module.modules():
            if isinstance(part, nn.GroupNorm | nn.LayerNorm):
                part.requires_grad_(True)
            elif isinstance(part, nn.Linear | nn.Conv2d) and part.bias is not None:
                part.bias.requires_grad_(True)


def tuned_goal(policy: nn.Module) -> torch.Tensor | None:
    """The goal vector (E,) that is being tuned; None where weights are."""
    return policy._parameters.get(TUNED_GOAL)


def trained_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """What takes gradients, by name."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def plain_state(policy: GoalPolicy) -> dict[str, torch.Tensor]:
    """The policy's tensors under the published names: low-rank additions merged, no tuned goal."""
    state = merged_state(policy)
    state.pop(TUNED_GOAL, None)
    return state


def plain_policy(policy: GoalPolicy) -> GoalPolicy:
    """A policy of the published form with `plain_state`'s tensors (shared with `policy` where nothing had to be merged)."""
    with torch.device("meta"):
        plain = GoalPolicy(policy.config)
    plain.load_state_dict(plain_state(policy), strict=True, assign=True)
    return plain.requires_grad_(False).eval()


def frozen_copy(policy: GoalPolicy) -> GoalPolicy:
    """The policy as it is now, to compare with later: shares every tensor that is not trained, copies the rest."""
    trained = trained_parameters(policy)
    copy = plain_policy(policy)
    for name, parameter in copy.named_parameters():
        if name in trained:
            parameter.data = parameter.data.clone()
    return copy


def describe(policy: GoalPolicy, settings: TrainSettings) -> list[str]:
    """Sentences: how much is trained, and the memory of weights, gradients and optimizer.

    Raises:
        UserError: nothing is trained.
    """
    every = sum(parameter.numel() for parameter in policy.parameters())
    trained = sum(parameter.numel() for parameter in trained_parameters(policy).values())
    if not trained:
        raise UserError("Nothing would be trained.", got=f"finetune_mode {settings.finetune_mode}")
    copies = settings.kl_coef > 0, settings.l2sp_coef > 0 and settings.finetune_mode != "lora", settings.ema_decay > 0
    moments = BYTES_OF_MOMENTS[settings.optimizer]
    held = 4 * every + trained * (4 + moments + 4 * sum(copies))  # weights; gradients, the optimizer's moments, copies
    what = {
        "all": "everything",
        "frozen_cnn": "all but the image network",
        "heads_and_goal": "the goal's layer and the action heads",
        "lora": f"low-rank additions of rank {settings.lora_rank} to {settings.lora_targets}",
        "goal": "one goal vector",
        "norm_bias": "norms and biases",
    }[settings.finetune_mode]
    return [
        f"trains {what}: {trained:,} of {every:,} parameters ({percent(trained / every)})",
        f"memory: {held / 2**20:,.0f} MiB for weights, gradients and optimizer",
    ]
