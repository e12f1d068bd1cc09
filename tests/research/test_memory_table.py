"""The tables of memory by card and by way of training: one source, the planner, for pages and presets."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from research import memory_table
from steve1.core.paths import ROOT
from steve1.policy import PolicyConfig
from steve1.policy.vision import ActivationCheckpointing
from steve1.training import config
from steve1.training.memory.estimate import Method, flop_per_frame


def test_pages_and_presets_are_up_to_date() -> None:
    for (file, begin, end), text in memory_table.texts().items():
        page = (ROOT / file).read_text(encoding="utf-8")
        assert f"{begin}\n{text}{end}" in page, f"{file}: python -m research.memory_table --insert"


@pytest.mark.parametrize("size", memory_table.LENGTHS)
def test_a_preset_is_what_the_planner_starts_with(size: int) -> None:
    plan = memory_table.first_plan(size)
    line = next(line for line in memory_table.presets().splitlines() if line.startswith(f"    {size}gb)"))
    assert f'"${{BATCH_SIZE:={plan.batch_size}}}"' in line
    assert plan.batch_size * plan.gradient_accum_steps == 8
    assert plan.gib < 0.95 * size
    assert plan.method.finetune_mode == "all"
    assert plan.trunc_t == 64


def test_the_help_says_what_the_table_says() -> None:
    help_text = Path(config.__file__).read_text(encoding="utf-8")
    for kind in get_args(ActivationCheckpointing):
        method = Method(activation_checkpointing=kind)
        more = 100 * flop_per_frame(PolicyConfig(), method, 64) / flop_per_frame(PolicyConfig(), Method(), 64)
        assert f"{kind} {memory_table.tensors(method, 8):.1f}, {more:.0f} %" in help_text
