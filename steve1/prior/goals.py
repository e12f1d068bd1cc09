"""Prompts → goals.

In: a prompt, MineCLIP and a prior. Out: the goal embedding that the policy is conditioned on, the same for the same
prompt, weights and seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.mineclip.model import MineCLIP
from steve1.prior.cvae import Prior


def text_goal(
    prompt: str,
    mineclip: MineCLIP,
    prior: Prior,
    seed: int = 0,
    *,
    n_samples: int = 1,
    deterministic: bool = False,
) -> NDArray[np.float32]:
    """The goal of a prompt: float32 (E,).

    Args:
        prompt: what to do, in English (MineCLIP's text tower knows no other language).
        seed: the same seed gives the same goal.
        n_samples: with more than one, draw so many and keep the one that MineCLIP scores nearest to the prompt.
        deterministic: the prior's middle (z = 0) instead of a draw.

    Raises:
        UserError: an empty prompt, `n_samples` below 1, or MineCLIP and prior of different widths.
    """
    if n_samples < 1:
        raise UserError("n_samples must be at least 1", got=str(n_samples))
    if mineclip.embed_dim != prior.embed_dim:
        raise UserError(
            "MineCLIP and the prior are of different families",
            expected=f"a prior of width {mineclip.embed_dim}",
            got=f"width {prior.embed_dim}",
        )
    text = mineclip.encode_text([prompt])
    goals = prior.samples(text, seed, 1 if deterministic else n_samples, deterministic)
    best = int(mineclip.scores(goals.to(text), text)[:, 0].argmax()) if len(goals) > 1 else 0
    return goals[best].cpu().numpy().astype(np.float32)
