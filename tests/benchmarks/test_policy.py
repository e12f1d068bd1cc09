"""The benchmark's arithmetic and the form of its figures (not their size: that depends on the machine)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import Args, main
from benchmarks.actions import measure as measure_actions
from benchmarks.agent_step import measure_steps
from benchmarks.policy import TINY, measure_training
from steve1.core.errors import UserError
from steve1.policy import PolicyConfig
from steve1.policy.flops import flop_count

SMALL = PolicyConfig(
    hidsize=32, attention_heads=2, attention_memory_size=16, timesteps=8, n_recurrence_layers=1, impala_width=1,
    impala_chans=(4, 4, 4), mineclip_embed_dim=16,
)  # fmt: skip


def test_cost_of_a_frame_is_the_published_one() -> None:
    assert flop_count(TINY).forward / 1e9 == pytest.approx(0.246, abs=0.001)
    assert flop_count(TINY, 64).train / 1e9 == pytest.approx(0.725, abs=0.001)
    assert flop_count(PolicyConfig(), 64).forward / 1e9 == pytest.approx(15.1, abs=0.1)
    assert flop_count(PolicyConfig(), 64).train / 1e9 == pytest.approx(45.2, abs=0.2)


def test_figures_hang_together() -> None:
    threads = torch.get_num_threads()
    trained = measure_training(SMALL, batch=1, steps=4, rounds=1)
    stepped = measure_steps(SMALL, rounds=1, steps=3)
    assert torch.get_num_threads() == threads
    for name in ("train_fp32", "train_bf16"):
        found = trained[name]
        share = found["frames_per_cpu_s"] * trained["gflop_per_frame"] / found["matmul_gflops"]
        assert found["percent"] == pytest.approx(100 * share, rel=0.5)
    assert stepped["ratio"] > 0
    assert stepped["single"]["steps_per_s"] > 0


def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(Args("actions", output=tmp_path / "actions.json"))
    record = json.loads((tmp_path / "actions.json").read_text())
    assert record["figures"]["to_joint_us"] > 0
    assert {"processor", "cores", "commit", "date", "command"} <= set(record)
    assert "to_joint_us" in capsys.readouterr().out
    assert measure_actions(ticks=200, rounds=1)["ticks"] == 200


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(UserError, match="no such benchmark"):
        main(Args("polcy"))
