"""Pairs from embedded, captioned episodes, and the way from episodes to a prior by script."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1 import actions
from steve1.commands.train import train_prior
from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.paths import ROOT
from steve1.data.episodes.captions import Captions
from steve1.data.episodes.episode import Episode, find_episodes, write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import save_mineclip
from steve1.prior import load_prior
from steve1.prior.pairs import load_pairs, make_pairs

SIZES = MineCLIPConfig(
    embed_dim=32,
    resolution=(80, 128),
    vision_width=32,
    vision_layers=1,
    vision_heads=1,
    text_width=32,
    text_layers=1,
    text_heads=1,
    temporal_heads=1,
)
TABLE = {
    "dig_dirt": Captions(("dig dirt", "dig down"), ("dig a deep hole",)),
    "swim": Captions(("swim", "go swimming"), ("swim far",)),
}


@pytest.fixture(scope="module")
def mineclip() -> MineCLIP:
    torch.manual_seed(0)
    return MineCLIP(SIZES).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 40 frames with random goals of width 32."""
    folder = tmp_path_factory.mktemp("pairs") / "dataset_x"
    rng = np.random.default_rng(0)
    for i, behaviour in enumerate(["dig_dirt", "dig_dirt", "swim", "swim"]):
        path = folder / f"episode_{i}"
        with EpisodeWriter(path, {"behaviour": behaviour}, keep_mineclip_frames=False) as writer:
            for _ in range(40):
                writer.add(np.full((64, 64, 3), 50 * i, np.uint8), actions.null_action())
        goals = rng.standard_normal((40, 32)).astype(np.float16)
        goals[:15] = np.nan
        write_goals(path, goals)
    return folder


def test_goals_stand_beside_captions_of_their_own_episode(dataset: Path, mineclip: MineCLIP) -> None:
    pairs = make_pairs([dataset], mineclip, TABLE, stride=5, seed=0)
    assert pairs.groups.tolist() == [i for i in range(4) for _ in range(5)]
    for i, behaviour in enumerate(["dig_dirt", "dig_dirt", "swim", "swim"]):
        own = pairs.groups == i
        assert np.array_equal(pairs.visual[own], np.asarray(Episode(dataset / f"episode_{i}").goals[15::5], np.float32))
        texts = mineclip.encode_text(list(TABLE[behaviour].train)).numpy()
        distances = np.abs(pairs.text[own][:, None] - texts[None]).max(axis=2)
        assert (distances.min(axis=1) < 1e-5).all()
    again = make_pairs([dataset], mineclip, TABLE, stride=5, seed=0)
    assert np.array_equal(pairs.text, again.text)
    assert len(np.unique(pairs.text.round(4), axis=0)) == 4


def test_other_widths_and_missing_goals_are_named(dataset: Path, mineclip: MineCLIP, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no captions"):
        make_pairs([dataset], mineclip, {"fly": Captions(("fly",))})
    copy = tmp_path / "d" / "e"
    shutil.copytree(dataset / "episode_0", copy)
    write_goals(copy, np.zeros((40, 16), np.float32))
    with pytest.raises(UserError, match="another MineCLIP"):
        make_pairs([tmp_path / "d"], mineclip, TABLE)
    broken = np.zeros((40, 32), np.float32)
    broken[21] = np.nan
    np.save(copy / "embeds_attn.npy", broken)
    with pytest.raises(UserError, match="not finite") as caught:
        make_pairs([tmp_path / "d"], mineclip, TABLE)
    assert "row 21" in str(caught.value)
    (copy / "embeds_attn.npy").unlink()
    with pytest.raises(UserError, match="no goal embeddings"):
        make_pairs([tmp_path / "d"], mineclip, TABLE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no episodes"):
        make_pairs([tmp_path / "empty"], mineclip, TABLE)


def test_pairs_of_other_episodes_are_not_replaced_unasked(dataset: Path, mineclip: MineCLIP, tmp_path: Path) -> None:
    save_mineclip(mineclip, tmp_path / "clip.safetensors")
    args = train_prior.Args(
        data=str(tmp_path / "pairs.npz"),
        dataset_dir=(str(dataset),),
        mineclip=str(tmp_path / "clip.safetensors"),
        out_weights=str(tmp_path / "p.safetensors"),
        pairs_only=True,
        device="cpu",
    )
    train_prior.main(args)
    train_prior.main(args)  # the same ones: nothing to lose
    first = load_pairs(args.data)
    for other in (dataclasses.replace(args, stride=7), dataclasses.replace(args, seed=1)):
        with pytest.raises(UserError, match="other pairs") as caught:
            train_prior.main(other)
        assert "--overwrite" in str(caught.value)
    assert load_pairs(args.data).sha256() == first.sha256()
    train_prior.main(dataclasses.replace(args, stride=7, overwrite=True))
    other = tmp_path / "of another MineCLIP"
    shutil.copytree(dataset, other)
    for path in find_episodes(other):
        metadata = read_json(path / "metadata.json")
        write_json(path / "metadata.json", metadata | {"mineclip": {"sha256": "0" * 64}})
    with pytest.raises(UserError, match="another MineCLIP") as caught:
        train_prior.main(dataclasses.replace(args, dataset_dir=(str(other),)))
    assert "sha256 " in str(caught.value)
    assert len(load_pairs(args.data)) == 4 * 4


@pytest.mark.e2e
def test_the_script_goes_from_episodes_to_a_prior(dataset: Path, mineclip: MineCLIP, tmp_path: Path) -> None:
    save_mineclip(mineclip, tmp_path / "clip.safetensors")
    name = f"test_prior_{os.getpid()}"
    run = ROOT / "data" / "finetuning_checkpoint" / name
    variables = {
        "DATASET_DIRS": str(dataset),
        "DATA": str(tmp_path / "pairs.npz"),
        "MINECLIP": str(tmp_path / "clip.safetensors"),
        "OUT_WEIGHTS": str(tmp_path / f"{name}.safetensors"),
        "MAX_EPOCHS": "3",
        "VAL_FRACTION": "0.25",
    }
    command = ["bash", "4_train_prior.sh", "--hidden_dim", "32", "--latent_dim", "8", "--half", "--device", "cpu"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (run / "curves.json").exists()
    finally:
        shutil.rmtree(run, ignore_errors=True)
    assert "best epoch" in done.stdout
    assert load_prior(tmp_path / f"{name}.safetensors").config.hidden_dim == 32
    assert len(load_pairs(tmp_path / "pairs.npz")) == 4 * 7
