"""The packed forms give what the modules give."""

from __future__ import annotations

import copy

import pytest
import torch

from steve1.agent.packed import FusedAttention, PackedEncoder, _Norm, pack_policy
from steve1.policy import GoalPolicy, PolicyConfig


def config(impala_width: int = 1) -> PolicyConfig:
    return PolicyConfig(
        hidsize=32,
        attention_heads=2,
        attention_memory_size=16,
        timesteps=8,
        n_recurrence_layers=1,
        impala_width=impala_width,
    )


def policy_of(impala_width: int = 1) -> GoalPolicy:
    """A policy with weights, gains and shifts unlike their first values."""
    torch.manual_seed(3)
    policy = GoalPolicy(config(impala_width)).initialise()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return policy.eval()


@pytest.fixture
def frame() -> torch.Tensor:
    return torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 2])
def test_encoder_is_as_near_to_float64_as_the_general_one(frame: torch.Tensor, width: int) -> None:
    encoder = policy_of(width).net.img_process
    exact = copy.deepcopy(encoder).double()(frame)
    ours, general = PackedEncoder(encoder, 128)(frame), encoder(frame)
    assert ours.shape == general.shape
    assert ours.dtype == torch.float32
    assert float(exact.abs().max()) > 0.1, "all zero would prove nothing"
    error, allowed = (float((each - exact).abs().max()) for each in (ours, general))
    assert error < max(2 * allowed, 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("channels", [4, 64])
def test_norm_of_any_order_in_memory(channels: int) -> None:
    norm = torch.nn.GroupNorm(1, channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = 5 * torch.randn(1, channels, 8, 8)
    for given in (
        x,
        x.contiguous(memory_format=torch.channels_last),
        torch.cat([x, x])[1:].contiguous(memory_format=torch.channels_last),
    ):
        torch.testing.assert_close(_Norm(norm, 8)(given), norm(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_fused_attention_projects_as_its_four_layers() -> None:
    policy = policy_of()
    fused = pack_policy(policy)
    attention, joined = (each.net.recurrent_layer.layers[0].attention for each in (policy, fused))
    assert isinstance(joined, FusedAttention)
    assert not isinstance(attention, FusedAttention)
    assert fused.pi_head.buttons.linear_layer.weight is policy.pi_head.buttons.linear_layer.weight
    x = torch.randn(2, 1, 32)
    for ours, wanted in zip(joined.project(x), attention.project(x), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
