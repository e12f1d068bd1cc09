"""Command: what each card can train, as the tables of the documentation and the presets: `python -m research.memory_table --insert`.

Everything comes from the planner (`steve1/training/memory`), whose bytes the tests of tests/devices compare with a pretended card; another
test checks that the pages and tools/presets.sh are up to date.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from research.measure_methods.page import insert
from steve1.commands.cli import run
from steve1.core.paths import ROOT
from steve1.policy import PolicyConfig
from steve1.training.memory.estimate import GIB, Method, estimate, flop_per_frame
from steve1.training.memory.plans import METHODS, Plan, plans, start_with

CARDS = (8, 12, 16, 24, 32, 48, 80)
# Frames of a window by card, from the users' guide: they take main memory, not the card's.
LENGTHS = {24: 320, 16: 160, 12: 128, 8: 64}


@dataclasses.dataclass(frozen=True)
class Args:
    """What to do with the tables."""

    insert: bool = False
    """Put them into the pages and tools/presets.sh, between their marks."""


def main(args: Args) -> None:
    """Print the tables, and put them where they belong."""
    for (file, begin, end), text in texts().items():
        print(f"{file}:\n{text}")
        if args.insert:
            insert(ROOT / file, text, begin, end)


def texts() -> dict[tuple[Path, str, str], str]:
    """What stands between the marks of each file."""
    places: dict[str, tuple[Callable[[], str], str, str]] = {
        "README.md": (lambda: cards("en"), *marks("memory by card")),
        "README.zh-CN.md": (lambda: cards("zh"), *marks("memory by card")),
        "docs/guides/STEVE1_FINETUNING_QUICKSTART.md": (lambda: cards("en"), *marks("memory by card")),
        "docs/guides/zh/STEVE1_FINETUNING_QUICKSTART.md": (lambda: cards("zh"), *marks("memory by card")),
        "docs/technical/STEVE1_TRAINING_ANALYSIS.md": (ways, *marks("memory by way")),
        "tools/presets.sh": (presets, "    # begin: python -m research.memory_table", "    # end\n"),
    }
    return {(Path(file), begin, end): make() for file, (make, begin, end) in places.items()}


def marks(name: str) -> tuple[str, str]:
    """Of a page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def first_plan(gpu_gb: float) -> Plan:
    """What `steve1 plan` says to start with on a card."""
    return start_with(plans(PolicyConfig(), gpu_gb))


def cards(language: str) -> str:
    """By card: the settings to start with, in bf16, and their memory."""
    heads = {
        "en": (
            "GPU memory",
            "`PRESET`",
            "fine-tune everything with",
            "estimated memory",
            "of which tensors",
            "LoRA on cached features",
        ),
        "zh": ("显存", "`PRESET`", "微调全部参数的设置", "预计显存", "其中张量", "LoRA + 特征缓存"),
    }[language]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for size in CARDS:
        plan = first_plan(size)
        settings = (
            f"BATCH_SIZE={plan.batch_size} GRADIENT_ACCUM_STEPS={plan.gradient_accum_steps} TRUNC_T={plan.trunc_t}"
        )
        kind = plan.method.activation_checkpointing
        settings += "" if kind == "none" else f" ACTIVATION_CHECKPOINTING={kind}"
        lora = next(found for found in plans(PolicyConfig(), size) if found.method.finetune_mode == "lora")
        cells = [
            f"{size} GB", f"`{size}gb`" if size in LENGTHS else "–", f"`{settings}`", f"{plan.gib:.1f} GiB",
            f"{tensors(plan.method, plan.batch_size, plan.trunc_t, plan.gradient_accum_steps):.1f} GiB",
            f"`BATCH_SIZE={lora.batch_size}`, {lora.gib:.1f} GiB",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ways() -> str:
    """By way of training: tensors at several batches, and the arithmetic of a frame."""
    batches = (1, 2, 4, 8)
    config, plain = PolicyConfig(), Method()
    lines = [
        f"| way | {' | '.join(f'B = {batch}' for batch in batches)} | FLOP of a frame | smallest card for B = 1, for B = 8 |",
        "|---" * (len(batches) + 3) + "|",
    ]
    for method in METHODS:
        held = [f"{tensors(method, batch):.1f}" for batch in batches]
        work = flop_per_frame(config, method, 64)
        share = f"{work / 1e9:.1f} G ({100 * work / flop_per_frame(config, plain, 64):.0f} %)"
        smallest = ", ".join(_smallest(method, batch) for batch in (1, 8))
        lines.append(
            f"| {f'`{method.flags()}`' if method.flags() else 'everything'} | {' | '.join(held)} | {share} | {smallest} |"
        )
    return "\n".join(lines) + "\n"


def tensors(method: Method, batch: int, trunc_t: int = 64, accumulation: int = 1) -> float:
    """GiB of tensors in bf16."""
    return estimate(PolicyConfig(), method, batch=batch, trunc_t=trunc_t, accumulation=accumulation).tensors / GIB


def _smallest(method: Method, batch: int) -> str:
    """The first card that holds this many windows at once."""
    for size in CARDS:
        found = plans(PolicyConfig(), size, methods=(method,), effective_batch=batch)
        if found and (found[0].batch_size, found[0].trunc_t) == (batch, 64):
            return f"{size} GB"
    return f"above {CARDS[-1]} GB"


def presets() -> str:
    """The lines of tools/presets.sh for cards."""
    lines = []
    for size, length in LENGTHS.items():
        plan = first_plan(size)
        values = {
            "BATCH_SIZE": plan.batch_size, "GRADIENT_ACCUM_STEPS": plan.gradient_accum_steps, "T": max(length, plan.trunc_t), "TRUNC_T": plan.trunc_t,
            "ACTIVATION_CHECKPOINTING": plan.method.activation_checkpointing,
        }  # fmt: skip
        lines.append(
            f"    {size}gb) : " + " ".join(f'"${{{name}:={value}}}"' for name, value in values.items()) + " ;;\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    run(Args, main, "The tables of memory by card and by way of training.")
