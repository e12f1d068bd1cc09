"""The temporal encoder."""

from __future__ import annotations

import torch

from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.temporal import TemporalEncoder


def test_positions_stand_for_missing_frames() -> None:
    """A clip given by all its frames and positions 0..15 equals the clip without positions."""
    torch.manual_seed(0)
    encoder = TemporalEncoder(MineCLIPConfig(embed_dim=32, temporal_heads=1))
    features = torch.randn(2, 16, 32)
    assert torch.equal(encoder(features), encoder(features, torch.arange(16).expand(2, -1)))
    assert not torch.allclose(
        encoder(features[:, ::2]), encoder(features[:, ::2], torch.arange(0, 16, 2).expand(2, -1))
    )
