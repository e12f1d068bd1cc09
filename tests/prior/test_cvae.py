"""The prior equals the reference, and a prompt's goal depends on text and seed alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from steve1.core.errors import UserError
from steve1.prior import Prior, PriorConfig, load_prior, save_prior
from steve1.prior.cvae import losses
from tests.goldens import golden_arrays


@pytest.fixture(scope="module")
def arrays() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in golden_arrays("cvae.npz").items()}


@pytest.fixture(scope="module")
def golden_prior(arrays: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """The golden weights through a file as STEVE-1 publishes it."""
    path = tmp_path_factory.mktemp("prior") / "steve1_prior.pt"
    torch.save({key[len("small_w_") :]: value for key, value in arrays.items() if key.startswith("small_w_")}, path)
    return load_prior(path)


def test_sizes_come_from_the_file(golden_prior: Prior) -> None:
    assert golden_prior.config == PriorConfig(embed_dim=64, hidden_dim=48, latent_dim=32)


def test_outputs_equal_the_reference(golden_prior: Prior, arrays: dict[str, torch.Tensor]) -> None:
    text, visual, noise = (arrays[f"small_{name}"] for name in ("text", "visual", "eps"))
    mean, log_variance = golden_prior.encode(visual, text)
    assert torch.allclose(torch.cat([mean, log_variance], 1), arrays["small_enc"], atol=1e-5)
    code = mean + noise * torch.exp(0.5 * log_variance)
    assert torch.allclose(golden_prior.decode(code, text), arrays["small_recon"], atol=1e-5)
    assert torch.allclose(golden_prior.decode(noise, text), arrays["small_prior_eps"], atol=1e-5)
    assert torch.allclose(golden_prior.goal(text, deterministic=True), arrays["small_prior_det"], atol=1e-5)


def test_losses_and_gradients_equal_the_reference_in_its_units(
    golden_prior: Prior, arrays: dict[str, torch.Tensor]
) -> None:
    """The reference sums the KL over batch and channels; ours stays unreduced, so its unit can be made from it."""
    prior = Prior(golden_prior.config)
    prior.load_state_dict(golden_prior.state_dict())
    errors, divergence = losses(prior, *(arrays[f"small_{name}"] for name in ("text", "visual", "eps")))
    assert float(errors.detach().mean()) == pytest.approx(float(arrays["small_mse"]), rel=1e-5)
    kl = divergence.sum()
    assert float(kl.detach()) == pytest.approx(float(arrays["small_kl"]), rel=1e-5)
    loss = errors.mean() + 0.001 * kl
    assert float(loss.detach()) == pytest.approx(float(arrays["small_loss"]), rel=1e-5)
    loss.backward()
    norm = torch.sqrt(sum((p.grad.square().sum() for p in prior.parameters() if p.grad is not None), torch.zeros(())))
    assert float(norm) == pytest.approx(float(arrays["small_gradnorm"]), rel=1e-4)


def test_same_text_and_seed_same_goal_at_any_row(golden_prior: Prior) -> None:
    text = torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    alone = golden_prior.goal(text[3:4], seed=7)
    assert torch.equal(golden_prior.goal(text, seed=7)[3:4], alone)
    assert torch.equal(golden_prior.goal(text.flip(0), seed=7)[2:3], alone)
    assert torch.equal(golden_prior.goal(text[[3, 3]], seed=7), alone.expand(2, -1))
    assert torch.equal(golden_prior.samples(text[3:4], seed=7, n=4)[:1], alone)


def test_another_seed_another_goal(golden_prior: Prior) -> None:
    text = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    goals = torch.cat([golden_prior.goal(text, seed=seed) for seed in range(4)])
    assert len(goals.unique(dim=0)) == 4
    assert len(golden_prior.samples(text, n=5).unique(dim=0)) == 5
    assert torch.equal(golden_prior.goal(text, 1, deterministic=True), golden_prior.goal(text, 2, deterministic=True))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("half", [False, True])
def test_round_trip(golden_prior: Prior, tmp_path: Path, suffix: str, half: bool) -> None:
    path = tmp_path / f"p{suffix}"
    save_prior(golden_prior, path, half=half)
    again = load_prior(path)
    for ours, theirs in zip(again.parameters(), golden_prior.parameters()):
        assert torch.equal(ours, theirs.half().float() if half else theirs)


def test_faults_are_named(golden_prior: Prior, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not fit the prior"):
        golden_prior.goal(torch.zeros(1, 512))
    with pytest.raises(UserError, match="does not exist"):
        load_prior(tmp_path / "none.pt")
    tensors = dict(golden_prior.state_dict())
    del tensors["encoder.0.weight"]
    torch.save(tensors, tmp_path / "partial.pt")
    with pytest.raises(UserError) as caught:
        load_prior(tmp_path / "partial.pt")
    assert "encoder.0.weight is missing" in str(caught.value)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a prior"):
        load_prior(tmp_path / "other.pt")


class Hostile:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"encoder.0.weight": Hostile(tmp_path / "ran")}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="cannot be read"):
        load_prior(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
