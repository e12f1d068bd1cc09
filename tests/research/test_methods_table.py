"""The table of what each way of fine-tuning gains and costs, and the script that measures it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from research import methods_table, modes_table
from research.methods_table import BEGIN, END, Args
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import MODES

Make = Callable[..., TrainSettings]


def play(folder: Path, wins: dict[tuple[str, str], int], episodes: int = 10) -> None:
    """A log in which each (policy, task) wins its first so many episodes."""
    folder.mkdir(parents=True)
    names = list(dict.fromkeys(who for who, _ in wins))
    (folder / "settings.json").write_text(json.dumps({"contestants": [{"name": name} for name in names]}))
    lines = [
        {
            "key": f"{who}/{task}/{number}", "contestant": who, "row": task, "number": number,
            "success": {task: number < count}, "measure": {task: 1.0},
        }
        for (who, task), count in wins.items()
        for number in range(episodes)
    ]  # fmt: skip
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(methods_table, "ROOT", tmp_path)
    return tmp_path


def test_the_table_has_what_was_measured_so_far(root: Path, settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    args = Args(name="m", new_task="dig", old_tasks=("look", "walk"), insert=str(root / "page.md"))
    with pytest.raises(UserError, match="No episode"):
        methods_table.main(args)
    played = {
        ("mini", "dig"): 1,
        ("mini", "look"): 9,
        ("mini", "walk"): 9,
        ("m_all", "dig"): 8,
        ("m_all", "look"): 2,
        ("m_all", "walk"): 9,
    }
    play(root / "data/evaluations/m", played)
    play(root / "data/evaluations/m_goal", {("mini", "dig"): 1, ("m_goal", "dig"): 4})
    run = root / "data/finetuning_checkpoint/m_all"
    run.mkdir(parents=True)
    (run / "settings.json").write_text(
        json.dumps({"settings": dataclasses.asdict(settings(learning_rate=7e-4, total_frames=60000))})
    )
    curves = [
        {"step": 0, "validation/loss": 7.0, "retention/loss": 1.9},
        {"step": 9, "validation/loss": 2.5, "retention/loss": 4.0, "speed/frames_per_second": 300.0},
    ]
    (run / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curves))
    (root / "page.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    methods_table.main(args)
    text = (root / "page.md").read_text()
    assert text == f"before\n{BEGIN}\n{(root / 'data/evaluations/m.md').read_text()}{END}\nafter\n"
    head, _, start, full, goal = (line.split("|")[1:-1] for line in text.splitlines()[2:7])
    assert len(head) == len(start) == len(full) == len(goal) == 11
    assert [cell.strip() for cell in start[:4]] == ["as it starts", "–", "–", "1/10 (2-40 %)"]
    assert full[2].strip() == "7.0e-4"
    assert full[3].strip() == "8/10 (49-94 %)"
    assert full[4].strip().startswith("+70 (")
    assert full[5].strip() == "11/20 (34-74 %)"  # old skills pooled
    assert full[6].strip().startswith("-35 (")
    assert [cell.strip() for cell in full[-2:]] == ["7.00 → 2.50", "1.90 → 4.00"]
    assert goal[5].strip() == "cannot be lost"
    assert goal[4].strip().startswith("+30 (")
    assert "80 episodes" in text
    assert "60,000 frames" in text
    assert "all 300" in text
    (root / "bare.md").write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        methods_table.main(dataclasses.replace(args, insert=str(root / "bare.md")))


def test_the_page_has_a_place_for_it() -> None:
    text = (ROOT / "docs/technical/STEVE1_TRAINING_ANALYSIS.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


def test_the_page_has_the_modes_of_today() -> None:
    text = (ROOT / "docs/technical/STEVE1_TRAINING_ANALYSIS.md").read_text(encoding="utf-8")
    assert f"{modes_table.BEGIN}\n{modes_table.table()}{modes_table.END}" in text, (
        "python -m research.modes_table --insert docs/technical/STEVE1_TRAINING_ANALYSIS.md"
    )


def test_the_script_refuses_a_method_that_it_does_not_know() -> None:
    done = subprocess.run(
        ["bash", "tools/measure_methods.sh", "lora", "dreaming"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == f"unknown method: dreaming (mixed kl fixed_prompt {' '.join(MODES)})\n"
    assert done.stdout == ""
    helped = subprocess.run(["bash", "tools/measure_methods.sh", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert "EPISODES=40" in helped.stdout
    assert "set -euo" not in helped.stdout
