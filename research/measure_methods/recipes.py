"""The methods that are compared: what each trains, on what, and which old episodes it sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from steve1.training.finetune_modes import MODES


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way of fine-tuning.

    Attributes:
        words: its name in tables.
        settings: fields of TrainSettings beside those that all methods share.
        old: the old episodes it sees: demonstrations with pictures, those that the base played itself, or a replay pack.
        prompted: whether all frames have the skill's prompt as their goal.
        between: the method whose weights are mixed half and half with the base; nothing is trained.
        rl: fields of RlSettings: it learns from what it plays itself, judged by the reward of the skill's name; None: from demonstrations.
    """

    words: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    old: Literal["", "demonstrations", "self", "pack"] = ""
    prompted: bool = False
    between: str = ""
    rl: Mapping[str, Any] | None = None

    @property
    def trains_cnn(self) -> bool:
        """Whether it needs pictures; all others are trained on cached features."""
        return self.rl is None and MODES[self.settings.get("finetune_mode", "all")].trains_cnn

    @property
    def changes_weights(self) -> bool:
        """False: old skills cannot be lost."""
        return bool(self.between) or MODES[self.settings.get("finetune_mode", "all")].changes_weights


_FROZEN = {"finetune_mode": "frozen_cnn", "learning_rate": 7e-4}
# At 5e-3 the training loss of LoRA rises after 600 of 3,907 steps; validation ends at 1.37, at 1e-3 and 3e-4 at 1.0 to 1.1.
_LORA = {"finetune_mode": "lora", "learning_rate": 1e-3}
RECIPES = {
    "full": Recipe("full fine-tuning"),
    "frozen": Recipe("frozen CNN", _FROZEN),
    "lora": Recipe("LoRA", _LORA),
    "heads": Recipe("heads and goal layer", {"finetune_mode": "heads_and_goal"}),
    "fixed_prompt": Recipe("fixed prompt", prompted=True),
    "goal": Recipe("goal tuning", {"finetune_mode": "goal", "learning_rate": 1e-2}, prompted=True),
    "mixed": Recipe("old demonstrations (55 %)", {"keep": "replay", "replay_share": 0.55}, old="demonstrations"),
    "self": Recipe("self-replay (50 %)", {**_FROZEN, "keep": "self", "replay_share": 0.5}, old="self"),
    "lora_replay": Recipe(
        "LoRA with a replay pack (70 %)", {**_LORA, "keep": "replay", "replay_share": 0.7}, old="pack"
    ),
    "replay": Recipe("replay pack (70 %)", {**_FROZEN, "keep": "replay", "replay_share": 0.7}, old="pack"),
    "kl": Recipe("KL on new frames", {"kl_coef": 0.3}),
    "kl_replay": Recipe("KL on replay frames", {**_FROZEN, "keep": "kl", "replay_share": 0.7}, old="pack"),
    "half": Recipe("half way to full", between="full"),
    "ppo": Recipe("PPO", rl={}),
    "group": Recipe("group", rl={"method": "group"}),
    "clone": Recipe("clone", rl={"method": "clone"}),
    "placebo": Recipe("PPO, rewards dealt at random (placebo)", rl={"placebo": True}),
}
"""In the order in which they are measured; `half` needs the weights of `full`."""
IMITATING = tuple(name for name, recipe in RECIPES.items() if recipe.rl is None)
