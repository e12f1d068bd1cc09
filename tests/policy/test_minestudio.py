"""Weights saved here, loaded by MineStudio's SteveOnePolicy: every key fits, outputs are equal. Skipped where MineStudio is not installed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.envs.minecraft.packages import find_interpreter
from steve1.policy import PolicyConfig, load_policy, save_weights

CONFIG = PolicyConfig(
    hidsize=32, attention_heads=4, attention_memory_size=28, timesteps=16, n_recurrence_layers=2, impala_width=1, impala_chans=(2, 3, 4),
    mineclip_embed_dim=8, temperature=1.0,
)  # fmt: skip
"""Temperature 1: SteveOnePolicy has no other, where the published head divides by 2."""


@pytest.mark.e2e
@pytest.mark.parametrize("scale", [0.0, 4.0])
def test_steve_one_policy_reads_our_weights_and_agrees(tmp_path: Path, scale: float) -> None:
    try:
        python = find_interpreter("minestudio")
    except UserError as fault:
        pytest.skip(f"MineStudio is not installed: {fault.what}")
    torch.manual_seed(3)
    policy = load_policy(CONFIG)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    save_weights(policy, tmp_path / "ours.safetensors")
    (tmp_path / "net.json").write_text(json.dumps(CONFIG.to_model()["model"]["args"]["net"]["args"]))
    rng = np.random.default_rng(0)
    frames, goals = (
        rng.integers(0, 256, (2, 5, 128, 128, 3), dtype=np.uint8),
        rng.normal(size=(2, 8)).astype(np.float32),
    )
    np.savez(tmp_path / "inputs.npz", frames=frames, goals=goals)
    script = Path(__file__).with_name("minestudio_outputs.py")
    command = [
        str(python),
        str(script),
        *(str(tmp_path / name) for name in ("net.json", "ours.safetensors", "inputs.npz")),
        str(scale),
        str(tmp_path / "out.npz"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = np.load(tmp_path / "out.npz")
    assert theirs["missing"].tolist() == []
    assert theirs["unexpected"].tolist() == []
    with torch.inference_mode():
        first = torch.zeros(2, 5, dtype=torch.bool)
        wide = torch.from_numpy(goals)[:, None].expand(2, 5, 8)
        told = policy(torch.from_numpy(frames), wide, first, policy.initial_state(2))
        uncond = policy(torch.from_numpy(frames), torch.zeros_like(wide), first, policy.initial_state(2))
    for name in ("buttons", "camera"):
        ours = torch.log_softmax((1 + scale) * getattr(told, name) - scale * getattr(uncond, name), -1).numpy()
        np.testing.assert_allclose(ours, theirs[name], atol=2e-4)
