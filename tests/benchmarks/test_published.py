"""The comparison with the published code: what it refuses, that a side that computes something else is seen, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import published
from benchmarks.published import measure, table
from steve1.core.errors import UserError
from steve1.policy import PolicyConfig

SMALL = PolicyConfig(
    hidsize=32, attention_heads=2, attention_memory_size=16, timesteps=8, n_recurrence_layers=1, impala_width=1,
    impala_chans=(4, 4, 4), mineclip_embed_dim=16,
)  # fmt: skip
# A network with the published one's interface that says something else: uniform probabilities.
STAND_IN = """
import torch
from gym3.types import DictType
print("loaded")

class MinecraftAgentPolicy(torch.nn.Module):
    def __init__(self, space, policy_kwargs, pi_head_kwargs):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.sizes = {"buttons": 8641, "camera": 121}

    def load_state_dict(self, weights):
        assert "net.final_ln.weight" in weights

    def initial_state(self, games):
        return None

    def get_output_for_observation(self, observed, state, first):
        shape = (*first.shape, 1)
        pd = {name: (self.bias + torch.zeros(*shape, size)).log_softmax(-1) for name, size in self.sizes.items()}
        return pd, None, None

    def get_logprob_of_action(self, pd, action):
        return sum(pd[name].gather(-1, action[name][..., None]).sum((-1, -2)) for name in pd) * FACTOR
"""


def checkout(folder: Path, factor: float) -> Path:
    library = folder / "steve1/VPT/lib"
    library.mkdir(parents=True)
    (folder / "steve1/embed_conditioned_policy.py").write_text(STAND_IN.replace("FACTOR", str(factor)))
    (library / "actions.py").write_text("class ActionTransformer:\n    def __init__(self, **given): pass\n")
    (library / "action_mapping.py").write_text(
        "import minerl.herobraine.hero.mc\n"
        "class CameraHierarchicalMapping:\n"
        "    def __init__(self, n_camera_bins): pass\n"
        "    def get_action_space_update(self): return {}\n"
    )
    return folder


@pytest.mark.parametrize(
    ("against", "networks", "said"),
    [
        (None, (), "not part of this project"),
        ("empty", (), "no checkout"),
        ("empty", ("3x",), "no such network"),
        ("empty", ("tiny", "3x"), "no such network"),
    ],
)
def test_what_is_refused(against: str | None, networks: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        measure(tmp_path if against else None, networks=networks)


@pytest.mark.e2e
def test_a_side_that_computes_something_else_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(published.NETWORKS, "tiny", lambda: SMALL)
    monkeypatch.setitem(published.BATCHES, "tiny", (1, 2))
    with pytest.raises(UserError, match="losses differ"):
        measure(checkout(tmp_path / "other", 2.0), networks=("tiny",), neighbour=False)
    with pytest.raises(UserError, match="published code failed"):  # here the losses agree, and it cannot act
        measure(checkout(tmp_path / "same", 1.0), networks=("tiny",), neighbour=False)


def test_table() -> None:
    found = {"published": 50.0, "ours": 100.0, "ratio": 2.0, "ratios": [1.9, 2.0, 2.4], "cpu_ratio": 2.0}
    row = {"network": "tiny", "threads": 1, "measure": "single", "quiet": found, "limit": 300.0}
    lines = table([row, row | {"busy": found | {"ratio": 1.5, "ratios": [1.5]}}]).splitlines()
    assert lines[2] == "| tiny, 1 | single step | 50 | 100 | **2.00** (1.90–2.40) | 300 | – | – | – |"
    assert lines[3].endswith("| 50 | 100 | **1.50** (1.50–1.50) |")
    assert len({line.count("|") for line in lines}) == 1
