"""The fine-tuning modes, one entry each in `MODES`.

The command line, the checks, the memory and FLOP model, the table in docs/technical/STEVE1_TRAINING_ANALYSIS.md (`python -m
research.modes_table`) and the tests follow from it. Imports no torch, so that `--help` stays quick.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal


@dataclasses.dataclass(frozen=True)
class FinetuneMode:
    """The parameters that a mode trains, and how far down gradients go."""

    help: str
    """The trained parts, in a few words."""
    parameters: str = ""
    """Regular expression from the start of a parameter's name: the policy's own parameters that are trained.
    Transformer blocks are counted from the end, whatever their number: `net.recurrent_layer.blocks.-1.` is the last."""
    adds: Literal["nothing", "lora", "goal"] = "nothing"
    """Parameters that the policy gets for it: low-rank additions, or one goal vector."""
    trains_cnn: bool = False
    """Whether gradients go through the convolutions; without, their output can be cached."""
    trains_goal_layer: bool = False
    """Whether the layer between goal and transformer is trained, which VPT's weights do not have."""
    lowest_block: int | None = 0
    """The lowest transformer block that gradients reach: 0 is the first, -1 the last; None: they end at the heads."""
    large: bool = False
    """Most weights are trained: the optimizer's moments take memory worth saving."""
    use_when: str = ""
    """For the documentation: when to take it."""
    learning_rate: float = 1e-4
    """For the documentation: the rate to begin with."""

    @property
    def changes_weights(self) -> bool:
        """False where only a goal is tuned."""
        return self.adds != "goal"

    def trains(self, name: str, n_blocks: int) -> bool:
        """Whether the policy's own parameter of this name is trained."""
        block = re.match(r"(net\.recurrent_layer\.blocks\.)(\d+)(.*)", name)
        if block is not None:
            name = f"{block[1]}{int(block[2]) - n_blocks}{block[3]}"
        return bool(self.parameters) and re.match(self.parameters, name) is not None

    def blocks_reached(self, n_blocks: int) -> int:
        """How many of the transformer's blocks gradients go through."""
        return 0 if self.lowest_block is None else n_blocks - range(n_blocks)[self.lowest_block]


# From the fullest training to the thriftiest.
MODES: dict[str, FinetuneMode] = {
    "all": FinetuneMode(
        "everything",
        r".",
        trains_cnn=True,
        trains_goal_layer=True,
        large=True,
        use_when="there are hours of demonstrations, or the frames look different (a mod, another game)",
        learning_rate=1e-5,
    ),
    "norm_bias": FinetuneMode(
        "norms and biases",
        r"(net|pi_head)\..*(norm|_ln|\.n\.|\.bias$)",
        trains_cnn=True,
        use_when="you want the cheapest change of the whole network",
    ),
    "frozen_cnn": FinetuneMode(
        "all but the image encoder",
        r"(?!net\.img_process\.cnn\.)",
        trains_goal_layer=True,
        large=True,
        use_when="the frames look like those of pretraining; with `--feature_cache` they are encoded only once",
        learning_rate=1e-5,
    ),
    "lora": FinetuneMode(
        "low-rank additions (LoRA)",
        adds="lora",
        use_when="memory is short, or you want several skills as small files (old skills need replay all the same)",
    ),
    "heads_and_goal": FinetuneMode(
        "the goal layer and the action heads",
        r"pi_head\.|net\.mineclip_embed_linear\.",
        trains_goal_layer=True,
        use_when="there are very few demonstrations: perception and memory stay, only the reaction to them changes",
    ),
    "goal": FinetuneMode(
        "one goal vector and no weights",
        adds="goal",
        use_when="the policy can already do it, but the prompt does not trigger it",
        learning_rate=1e-2,
    ),
}

# Choices of a command line are a Literal; of a table they can only be made at run time.
if TYPE_CHECKING:
    FinetuneModeName = str
else:
    FinetuneModeName = Literal[tuple(MODES)]


def modes_help() -> str:
    """All modes with what they train, for `--help`."""
    return "What is trained (FINETUNE_MODE). " + "; ".join(f"{name}: {mode.help}" for name, mode in MODES.items()) + "."


def modes_that(trait: Literal["keep_cnn", "train_goal_layer"]) -> str:
    """Names of modes for messages: "frozen_cnn, lora or goal"."""
    has = {"keep_cnn": lambda mode: not mode.trains_cnn, "train_goal_layer": lambda mode: mode.trains_goal_layer}[trait]
    *names, last = [name for name, mode in MODES.items() if has(mode)]
    return ", ".join(names) + f" or {last}"
