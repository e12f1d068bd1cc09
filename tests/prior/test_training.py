"""Training the prior: it learns, its code does not collapse where the published loss lets it, it stops and resumes."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.commands.train.train_prior import Args, main
from steve1.core.errors import UserError
from steve1.prior import Prior, PriorConfig, load_prior
from steve1.prior.cvae import losses
from steve1.prior.pairs import Pairs, load_pairs, save_pairs, split, tensors
from steve1.prior.training import PriorSettings, train_prior

E = 16
QUICK = PriorSettings(hidden_dim=64, latent_dim=E, batch_size=64, max_epochs=40, patience=40, learning_rate=2e-3)


def toy(n: int = 600, seed: int = 0) -> Pairs:
    """Videos = a function of the text + a part that the text does not tell (two hidden factors) + a little noise."""
    rng = np.random.default_rng(seed)
    texts = rng.standard_normal((6, E))
    which = rng.integers(0, 6, n)
    told = np.tanh(texts[which] @ rng.standard_normal((E, E)) / 4)
    hidden = rng.standard_normal((n, 2)) @ rng.standard_normal((2, E)) / 2
    visual = 0.3 * (told + hidden + 0.05 * rng.standard_normal((n, E)))
    return Pairs(texts[which].astype(np.float32), visual.astype(np.float32), np.arange(n) // 10)


@pytest.mark.e2e
def test_it_learns_and_uses_its_code(tmp_path: Path) -> None:
    result = train_prior(toy(), tmp_path / "p.safetensors", QUICK, run=tmp_path / "run")
    assert result.explained > 0.8
    assert result.kl > 0.05
    prior = load_prior(tmp_path / "p.safetensors")
    pairs = toy()
    text, visual = tensors(pairs, np.arange(len(pairs)))
    centre = prior.goal(text[:1], deterministic=True)[0]
    same = (pairs.text == pairs.text[0]).all(axis=1)
    own, others = visual[same].mean(0), visual[~same].mean(0)
    assert (centre - own).norm() < 0.5 * (centre - others).norm()


def upstream_training(pairs: Pairs, epochs: int = 40) -> tuple[float, float]:
    """The published loss on the same network and data (mean error + 0.001 · KL summed over the batch):
    returns (KL per channel, share of the variance explained)."""
    torch.manual_seed(0)
    prior = Prior(PriorConfig(E, QUICK.hidden_dim, QUICK.latent_dim))
    optimizer = torch.optim.AdamW(prior.parameters(), QUICK.learning_rate)
    text, visual = tensors(pairs, np.arange(len(pairs)))
    for _ in range(epochs):
        for rows in torch.randperm(len(text)).split(QUICK.batch_size):
            errors, divergence = losses(prior, text[rows], visual[rows], torch.randn(len(rows), E))
            loss = errors.mean() + 0.001 * divergence.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        errors, divergence = losses(prior, text, visual, torch.randn(len(text), E))
    spread = (visual - visual.mean(0)).square().mean()
    return float(divergence.mean()), 1 - float(errors.mean() / spread)


@pytest.mark.e2e
def test_the_code_collapses_under_the_published_loss_and_not_here(tmp_path: Path) -> None:
    pairs = toy()
    kl, explained = upstream_training(pairs)
    ours = train_prior(pairs, tmp_path / "p.safetensors", QUICK, run=tmp_path / "run")
    assert kl < 0.01
    assert ours.kl > 10 * kl
    assert ours.explained > explained + 0.2


@pytest.mark.e2e
def test_beta_trades_the_code_for_the_reconstruction(tmp_path: Path) -> None:
    kls = []
    for beta in (0.01, 0.1, 3.0):
        settings = PriorSettings(**{**QUICK.__dict__, "beta": beta, "max_epochs": 15})
        kls.append(train_prior(toy(), tmp_path / f"{beta}.safetensors", settings, run=tmp_path / str(beta)).kl)
    assert kls[0] > kls[1] > kls[2]


def test_it_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    """Random pairs teach nothing: the validation loss soon rises."""
    rng = np.random.default_rng(0)
    text, visual = (rng.standard_normal((80, E)).astype(np.float32) for _ in range(2))
    losses_seen: list[float] = []
    settings = PriorSettings(hidden_dim=64, latent_dim=E, batch_size=16, max_epochs=200, patience=4)
    result = train_prior(
        Pairs(text, visual, np.arange(80)),
        tmp_path / "p.safetensors",
        settings,
        run=tmp_path / "run",
        on_epoch=lambda _epoch, scalars: losses_seen.append(scalars["val/loss"]),
    )
    assert result.epoch == result.best_epoch + 4 < 200
    assert result.best_loss == min(losses_seen) == losses_seen[result.best_epoch - 1]


def test_resume_equals_never_having_stopped(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(epoch: int, _scalars: dict[str, float]) -> None:
        if epoch == 3:
            raise Stop

    settings = PriorSettings(**{**QUICK.__dict__, "max_epochs": 7})
    train_prior(toy(), tmp_path / "a.safetensors", settings, run=tmp_path / "a")
    with pytest.raises(Stop):
        train_prior(toy(), tmp_path / "b.safetensors", settings, run=tmp_path / "b", on_epoch=stop)
    epochs: list[int] = []
    train_prior(
        toy(), tmp_path / "b.safetensors", settings, run=tmp_path / "b", on_epoch=lambda epoch, _: epochs.append(epoch)
    )
    assert epochs == [4, 5, 6, 7]
    for ours, theirs in zip(
        load_prior(tmp_path / "a.safetensors").parameters(), load_prior(tmp_path / "b.safetensors").parameters()
    ):
        assert torch.equal(ours, theirs)
    assert (tmp_path / "a" / "curves.json").read_text() == (tmp_path / "b" / "curves.json").read_text()


def test_other_settings_in_the_same_folder_are_named(tmp_path: Path) -> None:
    settings = PriorSettings(**{**QUICK.__dict__, "max_epochs": 2})
    train_prior(toy(), tmp_path / "p.safetensors", settings, run=tmp_path / "run")
    other = PriorSettings(**{**settings.__dict__, "beta": 0.5})
    with pytest.raises(UserError) as caught:
        train_prior(toy(), tmp_path / "p.safetensors", other, run=tmp_path / "run")
    assert "beta: 0.1 then, 0.5 now" in str(caught.value)
    mine = (tmp_path / "p.safetensors").read_bytes()
    for _ in range(2):  # the first refusal leaves nothing that would make the weights ours
        with pytest.raises(UserError, match="not this run's"):
            train_prior(toy(), tmp_path / "p.safetensors", other, run=tmp_path / "elsewhere")
    assert (tmp_path / "p.safetensors").read_bytes() == mine
    train_prior(toy(), tmp_path / "p.safetensors", other, run=tmp_path / "run", overwrite=True)


def test_two_outputs_of_one_name_do_not_share_a_folder(tmp_path: Path) -> None:
    settings = PriorSettings(**{**QUICK.__dict__, "max_epochs": 1})
    how: dict[str, Any] = {"settings": settings, "run": tmp_path / "run"}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    train_prior(toy(40), tmp_path / "a" / "p.safetensors", **how)
    (tmp_path / "b" / "p.safetensors").write_bytes(b"somebody's")
    with pytest.raises(UserError, match="output: "):
        train_prior(toy(40), tmp_path / "b" / "p.safetensors", **how)
    assert (tmp_path / "b" / "p.safetensors").read_bytes() == b"somebody's"
    with pytest.raises(UserError, match="half: False then, True now"):
        train_prior(toy(40), tmp_path / "a" / "p.safetensors", half=True, **how)


def test_other_pairs_of_the_same_number_are_another_run(tmp_path: Path) -> None:
    settings = PriorSettings(**{**QUICK.__dict__, "max_epochs": 1})
    how: dict[str, Any] = {"output": tmp_path / "p.safetensors", "settings": settings, "run": tmp_path / "run"}
    pairs = toy(40)
    train_prior(pairs, **how)
    assert train_prior(dataclasses.replace(pairs, text=pairs.text.copy()), **how).epoch == 1
    changed = pairs.visual.copy()
    changed[3] += 1
    for other in (dataclasses.replace(pairs, visual=changed), dataclasses.replace(pairs, groups=pairs.groups + 1)):
        with pytest.raises(UserError, match="pairs_sha256: "):
            train_prior(other, **how)
    record = tmp_path / "run" / "settings.json"
    earlier = {
        name: value
        for name, value in json.loads(record.read_text()).items()
        if name not in ("pairs_sha256", "output", "half")
    }
    record.write_text(json.dumps(earlier))
    assert train_prior(pairs, **how).epoch == 1, "a run of an earlier version, which did not record it"


def test_groups_never_straddle_the_split() -> None:
    pairs = toy()
    train, val = split(pairs, 0.2, seed=3)
    assert not set(pairs.groups[train]) & set(pairs.groups[val])
    assert len(train) + len(val) == len(pairs)
    assert len(val) == 120
    assert np.array_equal(split(pairs, 0.2, seed=3)[1], val)
    assert not np.array_equal(split(pairs, 0.2, seed=4)[1], val)


@pytest.mark.parametrize("form", ["npz", "pickle of arrays", "pickle of lists"])
def test_both_forms_of_data_are_read(tmp_path: Path, form: str) -> None:
    pairs = toy(30)
    path = tmp_path / ("d.npz" if form == "npz" else "d.pkl")
    if form == "npz":
        save_pairs(pairs, path)
    else:
        rows = [pairs.text, pairs.visual]
        if form == "pickle of lists":
            rows = [[row[None] for row in array] for array in rows]  # type: ignore[misc]
        path.write_bytes(pickle.dumps({"text_embeddings": rows[0], "visual_embeddings": rows[1]}))
    again = load_pairs(path)
    assert np.array_equal(again.text, pairs.text)
    assert np.array_equal(again.visual, pairs.visual)


def test_bad_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        load_pairs(tmp_path / "none.pkl")
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps({"text_embeddings": np.zeros((2, 4))}))
    with pytest.raises(UserError, match="not the prior's data"):
        load_pairs(path)
    path.write_bytes(pickle.dumps({"text_embeddings": np.zeros((2, 4)), "visual_embeddings": np.zeros((3, 4))}))
    with pytest.raises(UserError, match="do not fit together"):
        load_pairs(path)
    broken = np.zeros((3, 4))
    broken[1] = np.nan
    path.write_bytes(pickle.dumps({"text_embeddings": np.zeros((3, 4)), "visual_embeddings": broken}))
    with pytest.raises(UserError) as caught:
        load_pairs(path)
    assert "visual_embeddings, row 1" in str(caught.value)
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(UserError):
        load_pairs(path)
    (tmp_path / "d.npz").write_bytes(b"PK torn")
    with pytest.raises(UserError, match="cannot be read"):
        load_pairs(tmp_path / "d.npz")
    with pytest.raises(UserError, match="too small"):
        split(Pairs(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), np.zeros(4, np.int64)), 0.5, 0)


def test_the_command_trains_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pairs(toy(), tmp_path / "d.npz")
    main(
        Args(
            data=str(tmp_path / "d.npz"),
            out_weights=str(tmp_path / "p.pt"),
            hidden_dim=32,
            latent_dim=8,
            max_epochs=3,
            device="cpu",
        )
    )
    assert "best epoch 3 of 3" in capsys.readouterr().out
    assert load_prior(tmp_path / "p.pt").config == PriorConfig(E, 32, 8)
    assert (tmp_path / "data" / "finetuning_checkpoint" / "p" / "curves.json").exists()
    assert list((tmp_path / "data" / "finetuning_checkpoint" / "p").glob("events.out.tfevents.*"))


def test_all_bad_settings_come_in_one_message() -> None:
    with pytest.raises(UserError) as caught:
        PriorSettings(batch_size=0, val_fraction=1.5, learning_rate=-1, weight_decay=-1, beta=-1).check()
    for part in ("batch_size", "val_fraction", "learning_rate", "weight_decay", "beta"):
        assert part in str(caught.value)
    for name in ("learning_rate", "weight_decay", "beta"):
        with pytest.raises(UserError, match=f"{name} must be a number"):
            PriorSettings(**{name: float("nan")}).check()
    with pytest.raises(UserError, match="--stride must be at least 1"):
        main(Args(stride=0))
