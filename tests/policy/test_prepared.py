"""The policy laid out for single steps gives what its modules give."""

from __future__ import annotations

import copy

import pytest
import torch

from steve1.policy import GoalPolicy, PolicyConfig
from steve1.policy import prepared as prepared_module
from steve1.policy.prepared import PreparedBlock, PreparedEncoder, PreparedNorm, PreparedPolicy


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
@pytest.mark.parametrize("width", [1, 2])  # with norms spread over the frame and without
def test_encoder_is_as_near_to_float64_as_the_general_one(frame: torch.Tensor, width: int) -> None:
    encoder = policy_of(width).net.img_process
    exact = copy.deepcopy(encoder).double()(frame)
    ours, general = PreparedEncoder(encoder, 128)(frame), encoder(frame)
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
        torch.testing.assert_close(PreparedNorm(norm, 8)(given), norm(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("joined_below", [1024, 1])
def test_block_reads_and_writes_what_its_layers_do(monkeypatch: pytest.MonkeyPatch, joined_below: int) -> None:
    monkeypatch.setattr(prepared_module, "JOINED_BELOW", joined_below)
    block = policy_of().net.recurrent_layer.layers[0]
    attention = block.attention
    x = torch.randn(2, 32)
    y, parts = PreparedBlock(block).read(x)
    wanted = block.pre_r_ln(x)
    torch.testing.assert_close(y, wanted)
    for part, layer in zip(
        parts, (attention.k_layer, attention.v_layer, attention.q_layer, attention.r_layer), strict=True
    ):
        torch.testing.assert_close(part, layer(wanted), rtol=1e-5, atol=1e-5)
    seen = torch.randn(2, 32)
    torch.testing.assert_close(
        PreparedBlock(block).write(y, seen), block.pointwise(wanted + attention.proj_layer(seen)), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_under_autocast_the_policy_encodes_as_ever(frame: torch.Tensor) -> None:
    policy = policy_of()
    prepared = PreparedPolicy(policy)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prepared.encode(frame), policy.encode(frame[None])[0])
    assert prepared.encoder is None, "nothing was laid out for nothing"


@torch.no_grad()
def test_finish_equals_the_network(frame: torch.Tensor) -> None:
    policy = policy_of()
    x = torch.randn(2, 32)
    torch.testing.assert_close(PreparedPolicy(policy).finish(x), policy.net.finish(x), rtol=1e-5, atol=1e-5)
