"""Command: the fine-tuning modes as the table of docs/technical/STEVE1_TRAINING_ANALYSIS.md: `python -m research.modes_table --insert PAGE`.

Everything comes from `steve1/training/finetune_modes.py` and the published network's sizes; a test checks that the page is up to date.
"""

from __future__ import annotations

import dataclasses

from research.measure_methods.page import insert
from steve1.commands.cli import run
from steve1.core.paths import resolve
from steve1.policy import PolicyConfig
from steve1.training.finetune_modes import MODES
from steve1.training.logging.reporter import rate_text
from steve1.training.memory.estimate import Method, estimate, parameter_counts

BEGIN, END = "<!-- fine-tuning modes: begin -->", "<!-- fine-tuning modes: end -->"


@dataclasses.dataclass(frozen=True)
class Args:
    """What to do with the table."""

    insert: str = ""
    """Put the table into this page, between its marks."""


def main(args: Args) -> None:
    """Print the table, and put it into the page where one is named."""
    print(table())
    if args.insert:
        insert(resolve(args.insert), table(), BEGIN, END)


def table() -> str:
    """The modes at the published sizes, as Markdown."""
    config = PolicyConfig()
    total = parameter_counts(config, Method())[0]
    lines = [
        f"| `FINETUNE_MODE` | trains | of {total / 1e6:.1f} M at 2x | weights, gradients, AdamW | image encoder | goal layer | "
        "gradients reach | use it if | initial learning rate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, mode in MODES.items():
        trained = parameter_counts(config, Method(name))[1]
        memory = estimate(config, Method(name), batch=1, trunc_t=16)
        held = (memory.weights + memory.gradients + memory.moments) / 2**20
        count = f"{trained / 1e6:.3g} M" if trained >= 1e5 else f"{trained}"
        reached = mode.blocks_reached(config.n_recurrence_layers)
        down_to = "the frames" if mode.trains_cnn else f"the upper {reached} of {config.n_recurrence_layers} blocks"
        down_to = down_to if reached < config.n_recurrence_layers or mode.trains_cnn else "the first block"
        cells = [
            f"`{name}`", mode.help, count, f"{held:,.0f} MiB", "trained" if mode.trains_cnn else "frozen",
            "trained" if mode.trains_goal_layer else "frozen", down_to, mode.use_when, rate_text(mode.learning_rate),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(Args, main, "The table of fine-tuning modes.")
