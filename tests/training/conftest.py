"""Fixtures for training: a tiny policy, real native episodes with a rule to learn, and settings that fit both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.actions import null_action
from steve1.data.episodes.episode import write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.policy import PolicyConfig, write_model
from steve1.training.config import TrainSettings

E = 8
N_FRAMES = 64  # 15 + 49: two windows of 24, one more that overlaps; two of 32

TINY = PolicyConfig(
    hidsize=32,
    attention_heads=4,
    attention_memory_size=28,
    timesteps=16,
    n_recurrence_layers=2,
    impala_width=1,
    impala_chans=(2, 3, 4),
    mineclip_embed_dim=E,
)


def write_episode(path: Path, seed: int, n_frames: int = N_FRAMES, embed_dim: int = E) -> Path:
    """An episode whose action follows from its picture: bright frames mean attack, dark ones forward."""
    rng = np.random.default_rng(seed)
    with EpisodeWriter(path, {"source": "synthetic"}, keep_mineclip_frames=False) as writer:
        for step in range(n_frames):
            bright = (step // 8) % 2 == 0
            frame = rng.integers(0, 40, (128, 128, 3)).astype(np.uint8) + (150 if bright else 20)
            action = null_action()
            action["attack" if bright else "forward"] = 1
            action["camera"] = [float(rng.choice([-5, 0, 5])), 0.0]
            writer.add(frame, action)
    embeds = rng.normal(size=(n_frames, embed_dim)).astype(np.float32)
    embeds[:15] = np.nan
    write_goals(path, embeds)
    return path


def write_lists(folder: Path, train: list[Path], val: list[Path], name: str = "tiny") -> None:
    """The two lists of a sampling."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_train.txt").write_text("".join(f"{path}\n" for path in train))
    (folder / f"{name}_val.txt").write_text("".join(f"{path}\n" for path in val))


@pytest.fixture(autouse=True)
def no_results_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the tests of reports, a run does not look through its datasets at its end: a tenth of its time."""
    if "report" not in request.path.parts:
        monkeypatch.setattr("steve1.training.report.page.write_results", lambda run_dir: None)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.model, tiny.weights, episodes in dataset_a and dataset_b, and samplings."""
    import torch

    from steve1.policy import load_policy, save_weights

    root = tmp_path_factory.mktemp("tiny.with dots")
    write_model(TINY, root / "tiny.model")
    torch.manual_seed(7)
    save_weights(load_policy(root / "tiny.model"), root / "tiny.weights")
    train = [write_episode(root / "dataset_a" / f"ep{number}", number) for number in range(3)]
    train += [write_episode(root / "dataset_b" / "ep0", 10)]
    val = [write_episode(root / "dataset_a" / f"val{number}", 20 + number) for number in range(2)]
    write_lists(root / "samplings", train, val)
    return root


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> Callable[..., TrainSettings]:
    """Makes settings of a short run into this test's own folder."""

    def make(**changes: Any) -> TrainSettings:
        values: dict[str, Any] = {
            "in_model": str(tiny / "tiny.model"),
            "in_weights": str(tiny / "tiny.weights"),
            "out_weights": str(tmp_path / "out" / "tuned.weights"),
            "checkpoint_dir": str(tmp_path / "checkpoints"),
            "sampling_name": "tiny",
            "sampling_dir": str(tiny / "samplings"),
            "batch_size": 2,
            "T": 32,
            "trunc_t": 16,
            "learning_rate": 1e-3,
            "total_frames": 192,
            "warmup_frames": 64,
            "val_freq": 3,
            "val_windows": 2,
            "save_every": 3,
            "log_every": 2,
            "num_workers": 0,
            "threads": 1,
            "frames_at_once": 8,  # which rounding depends on
            "device": "cpu",
            "precision": "fp32",
        }
        return dataclasses.replace(TrainSettings(), **{**values, **changes})

    return make


# Three steps, saved after the last and not validated: for what needs a run, and not a long one.
SHORT: dict[str, Any] = {"total_frames": 96, "warmup_frames": 32, "val_freq": 0}


def weights_of(path: Path) -> dict[str, Any]:
    """Tensors of a weights file."""
    from steve1.policy import read_weights

    return read_weights(path)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit for bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# A learning rate that changes no weight: what remains of the steps are the optimizer's means of gradients. Weights after AdamW's steps
# cannot be compared between ways of computing: it divides by the gradient's own size, and turns a last bit of a gradient that is
# nearly zero into a whole step. Which bits these are depends on the processor.
STILL = 1e-12


def mean_gradients(run_dir: Path) -> dict[str, Any]:
    """AdamW's running means of the gradients at the end of a run."""
    from safetensors.torch import load_file

    tensors = load_file(max(run_dir.glob("resume/step*")) / "optimizer.safetensors")
    return {name: value for name, value in tensors.items() if name.endswith("/exp_avg")}


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest distance of two gradients of a parameter, as a share of the longer of its gradient and a hundredth of the whole.

    Rounding makes 1e-5 of it, more where a unit whose value is next to zero decides the other way at its ReLU or pool. A lost
    part of a batch makes 0.1 and more: 1e-2 tells the two apart on any processor.
    """
    assert one.keys() == other.keys()
    lengths = {name: float(tensor.norm()) for name, tensor in one.items()}
    floor = 1e-2 * float(np.linalg.norm(list(lengths.values())))
    return max(float((one[name] - other[name]).norm()) / max(lengths[name], floor) for name in one)
