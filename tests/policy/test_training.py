"""What training relies on: the loss's unit, masks, groups, accumulation, precision, and what it must not touch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, PolicyConfig, load_policy
from steve1.policy.heads import Head
from steve1.policy.loss import head_kl, head_loss
from steve1.policy.parameters import parameter_groups

Inputs = dict[str, torch.Tensor]
KEYS = ("frames", "goals", "first", "buttons", "camera")


def part(inputs: Inputs, rows: slice, steps: slice) -> dict[str, torch.Tensor]:
    return {key: inputs[key][rows, steps] for key in KEYS}


def loss(policy: GoalPolicy, batch: dict[str, torch.Tensor], **more: Any) -> Any:
    return policy.loss(**batch, state=policy.initial_state(len(batch["frames"])), **more)


def gradients(policy: GoalPolicy) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def test_loss_is_the_mean_over_frames(tiny: GoalPolicy, inputs: Inputs) -> None:
    batch = part(inputs, slice(0, 2), slice(0, 12))
    with torch.no_grad():
        out = tiny(batch["frames"], batch["goals"], batch["first"], tiny.initial_state(2))
        result = loss(tiny, batch)
    picked = [
        logp.gather(-1, batch[name][..., None]).squeeze(-1)
        for name, logp in (("buttons", out.buttons), ("camera", out.camera))
    ]
    assert float(result.loss_buttons) == pytest.approx(float(-picked[0].mean()), abs=1e-4)
    assert float(result.loss_camera) == pytest.approx(float(-picked[1].mean()), abs=1e-4)
    assert float(result.loss) == pytest.approx(float(result.loss_buttons + result.loss_camera), abs=1e-4)
    for name, logp in (("buttons", out.buttons), ("camera", out.camera)):
        best = (logp.argmax(-1) == batch[name]).float().mean()
        assert float(getattr(result, f"accuracy_{name}")) == pytest.approx(float(best), abs=1e-6)
        entropy = -(logp.exp() * logp).sum(-1).mean()
        assert float(getattr(result, f"entropy_{name}")) == pytest.approx(float(entropy), abs=1e-3)


def test_masked_frames_do_not_count(tiny: GoalPolicy, inputs: Inputs) -> None:
    batch = part(inputs, slice(0, 1), slice(0, 10))
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, :6] = True
    masked = loss(tiny, batch, mask=mask)
    masked.loss.backward()
    of_mask = gradients(tiny)
    tiny.zero_grad()
    shorter = loss(tiny, part(inputs, slice(0, 1), slice(0, 6)))
    shorter.loss.backward()
    assert float(masked.frames) == 6
    assert float(masked.loss.detach()) == pytest.approx(float(shorter.loss.detach()), abs=1e-4)
    for name, gradient in gradients(tiny).items():
        assert torch.allclose(of_mask[name], gradient, rtol=2e-2, atol=2e-3 * float(gradient.abs().max())), name


def test_nothing_counted_is_a_loss_of_zero(tiny: GoalPolicy, inputs: Inputs) -> None:
    result = loss(tiny, part(inputs, slice(0, 1), slice(0, 4)), mask=torch.zeros(1, 4, dtype=torch.bool))
    result.loss.backward()
    assert float(result.loss.detach()) == 0
    assert all(not gradient.any() for gradient in gradients(tiny).values())


def test_accumulated_gradients_equal_the_big_batch(tiny: GoalPolicy, inputs: Inputs) -> None:
    whole = part(inputs, slice(0, 3), slice(0, 8))
    loss(tiny, whole).loss.backward()
    big = gradients(tiny)
    tiny.zero_grad(set_to_none=True)
    for row in range(3):
        (loss(tiny, part(inputs, slice(row, row + 1), slice(0, 8))).loss / 3).backward()
    for name, gradient in gradients(tiny).items():
        assert float((gradient - big[name]).norm()) < 1e-2 * float(big[name].norm()) + 1e-6, name
    total = torch.stack([g.norm() for g in big.values()]).norm()
    apart = torch.stack([(gradients(tiny)[name] - big[name]).norm() for name in big]).norm()
    assert float(apart) < 2e-3 * float(total)


def test_parameter_groups(tiny: GoalPolicy) -> None:
    decayed, plain = parameter_groups(tiny, 0.039428)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.039428, 0.0)
    names = {id(p): name for name, p in tiny.named_parameters()}
    in_decayed = {names[id(p)] for p in decayed["params"]}
    in_plain = {names[id(p)] for p in plain["params"]}
    assert not in_decayed & in_plain
    trained = {name for name, p in tiny.named_parameters() if p.requires_grad}
    assert in_decayed | in_plain == trained
    assert not any(name.startswith("value_head") for name in trained)
    assert all("b_nd" not in name and ".norm." not in name for name in in_decayed)
    assert "net.recurrent_layer.blocks.0.r.orc_block.b_nd" in in_plain
    assert "net.img_process.cnn.stacks.1.firstconv.norm.weight" in in_plain
    assert "pi_head.buttons.linear_layer.weight" in in_decayed


def test_training_leaves_the_value_head_as_it_was(tiny: GoalPolicy, inputs: Inputs) -> None:
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    optimizer = torch.optim.AdamW(parameter_groups(tiny, 0.5), lr=1e-2)
    loss(tiny, part(inputs, slice(0, 1), slice(0, 4))).loss.backward()
    optimizer.step()
    after = tiny.state_dict()
    for key, value in before.items():
        assert torch.equal(after[key], value) == key.startswith("value_head"), key


def test_state_carries_without_its_history(tiny: GoalPolicy, inputs: Inputs) -> None:
    state = loss(tiny, part(inputs, slice(0, 1), slice(0, 4))).state
    assert state.keys[0].requires_grad
    assert not any(tensor.requires_grad for tensor in (*state.detach().keys, *state.detach().values))
    moved = state.detach().to("cpu")
    assert moved.mask.dtype == torch.bool
    assert moved.batch == 1


def test_bf16_stays_near_float32(tiny_model: Any, inputs: Inputs) -> None:
    torch.manual_seed(0)
    policy = load_policy(tiny_model)
    batch = part(inputs, slice(0, 2), slice(0, 8))
    loss(policy, batch).loss.backward()
    exact = gradients(policy)
    policy.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(policy, batch)
    low.loss.backward()
    assert low.loss.dtype == torch.float32
    assert low.state.keys[0].dtype == torch.float32
    ours = torch.cat([g.flatten() for g in gradients(policy).values()])
    reference = torch.cat([exact[name].flatten() for name in gradients(policy)])
    assert torch.isfinite(ours).all()
    assert float(torch.cosine_similarity(ours, reference, dim=0)) > 0.98


@pytest.mark.parametrize("rows", [1, 5, 3000])
def test_head_loss_equals_the_plain_way(rows: int) -> None:
    torch.manual_seed(1)
    head = Head(24, 121, 2.0)
    latent = torch.randn(rows, 24, requires_grad=True)
    target, weight = torch.randint(0, 121, (rows,)), torch.rand(rows)
    plain = (torch.nn.functional.cross_entropy(head.logits(latent), target, reduction="none") * weight).sum()
    wanted = torch.autograd.grad(plain, [latent, *head.parameters()])
    ours = head_loss(head, latent, target, weight)
    assert float(ours.loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    for got, gradient in zip(torch.autograd.grad(3 * ours.loss, [latent, *head.parameters()]), wanted, strict=True):
        assert float((got - 3 * gradient).abs().max()) < 1e-4 * float(3 * gradient.abs().max()) + 1e-6


@pytest.mark.parametrize("rows", [1, 3000])
def test_head_kl_equals_the_plain_way(rows: int) -> None:
    torch.manual_seed(1)
    head, reference = Head(24, 121, 2.0), Head(24, 121, 2.0)
    latent, other = torch.randn(rows, 24, requires_grad=True), torch.randn(rows, 24)
    plain = torch.nn.functional.kl_div(head(latent), reference(other), reduction="batchmean", log_target=True)
    wanted = torch.autograd.grad(plain, [latent, *head.parameters()])
    ours = head_kl(head, latent, reference, other)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-4)
    for got, gradient in zip(torch.autograd.grad(ours, [latent, *head.parameters()]), wanted, strict=True):
        assert float((got - gradient).abs().max()) < 1e-4 * float(gradient.abs().max()) + 1e-7


@pytest.mark.parametrize("counted", [0, 5, 2000])
@pytest.mark.parametrize("kl", [False, True])
def test_frames_of_weight_0_are_left_out_and_change_nothing(counted: int, kl: bool) -> None:
    torch.manual_seed(2)
    head, reference = (Head(16, 31, 2.0) for _ in range(2))
    latent, other = torch.randn(3000, 16, requires_grad=True), torch.randn(3000, 16)
    target, weight = torch.randint(0, 31, (3000,)), torch.zeros(3000)
    some = torch.randperm(3000)[:counted]
    weight[some] = torch.rand(counted) + 0.1

    def differentiated(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if kl:
            loss = head_kl(head, latent[rows], reference, other[rows], weight[rows])
        else:
            found = head_loss(head, latent[rows], target[rows], weight[rows])
            assert torch.equal(found.losses != 0, weight[rows] != 0)
            loss = found.loss
        return loss, *torch.autograd.grad(loss, [latent, head.linear_layer.weight, head.linear_layer.bias])

    for ours, wanted in zip(differentiated(torch.arange(3000)), differentiated(some)):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.e2e
def test_a_policy_from_nothing_starts_nearly_uniform_and_learns(inputs: Inputs) -> None:
    torch.manual_seed(0)
    config = PolicyConfig(
        hidsize=64, attention_heads=4, attention_memory_size=32, timesteps=16, n_recurrence_layers=2, impala_width=1,
        impala_chans=(8, 16, 16), mineclip_embed_dim=512,
    )  # fmt: skip
    policy = load_policy(config)
    batch = part(inputs, slice(0, 1), slice(0, 16))
    optimizer = torch.optim.AdamW(parameter_groups(policy, 0.0), lr=5e-3)
    losses = []
    for _ in range(16):
        result = loss(policy, batch)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    assert losses[0] == pytest.approx(9.06 + 4.80, abs=0.2)  # log 8641 + log 121
    assert losses[-1] < 0.7 * losses[0]


def test_chunks_that_do_not_fit_are_refused(tiny: GoalPolicy, inputs: Inputs) -> None:
    frames, goals, first = inputs["frames"][:1, :2], inputs["goals"][:1, :2], inputs["first"][:1, :2]
    state = tiny.initial_state(1)
    with pytest.raises(UserError, match="frames"):
        tiny(frames.float(), goals, first, state)
    with pytest.raises(UserError, match="frames"):
        tiny(frames[:, :, ::2], goals, first, state)
    with pytest.raises(UserError, match="Goals"):
        tiny(frames, goals[..., :96], first, state)
    with pytest.raises(UserError, match="episode starts"):
        tiny(frames, goals, first[:, :1], state)
