"""A whole run: what it prints, what it leaves, and that it learns."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from steve1.training import finetune
from steve1.training.settings import TrainSettings

Make = Callable[..., TrainSettings]


def test_console_lines_are_those_of_the_guide(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    finetune(settings())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "开始微调..."
    steps = [line for line in lines if re.fullmatch(r"Step \d+/6, Loss: \d+\.\d{3}, LR: \d\.\de-\d", line)]
    assert [line.split(",")[0] for line in steps] == ["Step 1/6", "Step 2/6", "Step 4/6", "Step 6/6"]
    assert any(re.match(r"Validation @ step 3: Loss=\d+\.\d{3}( |$)", line) for line in lines)
    assert "Saved checkpoint: tuned_step3.weights" in lines
    end = lines.index("训练完成!")
    assert lines[end + 1 : end + 3] == ["最终模型: tuned.weights", "最佳模型: tuned_best.weights"]
