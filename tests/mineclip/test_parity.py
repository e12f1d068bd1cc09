"""The towers, the temporal encoder and the reward head equal the reference's outputs."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import fill, load_mineclip
from tests.goldens import golden_arrays


def worst(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """The largest absolute difference."""
    return float(np.abs(ours.detach().numpy() - theirs).max())


def clips(io: dict[str, np.ndarray]) -> torch.Tensor:
    """The golden video with channels last, as this project holds frames."""
    return torch.from_numpy(io["video"]).permute(0, 1, 3, 4, 2).contiguous()


def test_tiny_image_and_video_features(tiny: MineCLIP, tiny_io: dict[str, np.ndarray]) -> None:
    frames = clips(tiny_io)
    features = tiny.image_features(frames.flatten(0, 1)).view(2, 16, -1)
    assert worst(features, tiny_io["image_features"]) < 1e-5
    assert worst(tiny.encode_video(frames), tiny_io["video_features"]) < 1e-5
    assert worst(tiny.video_embedding(features[:, :8]), tiny_io["video_features_8"]) < 1e-5


def test_tiny_text_features(tiny: MineCLIP, tiny_io: dict[str, np.ndarray]) -> None:
    text = tiny.text_embedding(torch.from_numpy(tiny_io["tokens"]))
    assert worst(text, tiny_io["text_features"]) < 1e-5


def test_tiny_reward_head(tiny: MineCLIP, tiny_io: dict[str, np.ndarray]) -> None:
    text = tiny.text_embedding(torch.from_numpy(tiny_io["tokens"]))
    scores = tiny.scores(tiny.encode_video(clips(tiny_io)), text)
    assert worst(scores, tiny_io["logits_per_video"]) < 1e-5
    assert abs(float(tiny.logit_scale.exp()) - float(tiny_io["adapted_logit_scale"])) < 1e-4


def recipe(key: str, shape: list[int]) -> torch.Tensor:
    """The values that the golden full-size run put into a key."""
    if key.endswith("logit_scale"):
        return torch.tensor(4.0)
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) >= 2:
        scale = 0.02 if "embed" in key or "emb." in key else math.prod(shape[1:]) ** -0.5
        return torch.from_numpy(np.asarray(noise * np.float32(scale)))
    return torch.from_numpy(np.asarray(1 + np.float32(0.1) * noise if key.endswith("weight") else 0.02 * noise))


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, torch.Tensor]:
    """All 788 keys as attn.pth has them, filled by the recipe, aliases sharing tensors."""
    meta = json.loads((golden / "mineclip_full_meta.json").read_text())
    filled = {key: recipe(key, meta["shapes"][key]) for key in meta["filled"]}
    tensors = {}
    for key, shape in meta["shapes"].items():
        source = key.replace("image_encoder.", "clip_model.vision_model.").replace(
            "reward_head.clip_model", "clip_model"
        )
        tensors["model." + key] = filled[key] if key in filled else filled[source]
        assert list(tensors["model." + key].shape) == shape
    return tensors


@pytest.mark.e2e
def test_published_sizes_from_a_published_file(
    published: dict[str, torch.Tensor], tiny_io: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A file of the published form loads strictly, has the published size, and gives the reference's numbers."""
    assert len(published) == 788
    torch.save({"state_dict": published}, tmp_path / "attn.pth")
    model = load_mineclip(tmp_path / "attn.pth")
    (tmp_path / "attn.pth").unlink()
    expected = golden_arrays("mineclip_full_io.npz")
    features = model.image_features(clips(tiny_io)[0, :4])  # each frame by itself, and all 16 take seconds
    assert worst(features, expected["image_features"][0, :4]) < 2e-4
    video = model.video_embedding(torch.from_numpy(expected["image_features"]))
    assert worst(video, expected["video_features"]) < 2e-4
    assert worst(model.text_embedding(torch.from_numpy(expected["tokens"])), expected["text_features"]) < 2e-4
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 158.5
    assert model.config == MineCLIPConfig()


def test_every_alias_is_merged(tiny_tensors: dict[str, torch.Tensor], tiny: MineCLIP) -> None:
    """The three names of the vision tower and the two of the text tower end in one tensor each."""
    model = MineCLIP(tiny.config)
    fill(model, {"model." + key: value for key, value in tiny_tensors.items()})
    for ours, theirs in zip(model.parameters(), tiny.parameters()):
        assert torch.equal(ours, theirs)
