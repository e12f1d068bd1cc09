"""Contrastive training: the loss, the batches, that it learns from clips and words, and that it resumes exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from research.train_mineclip.__main__ import Args, main
from research.train_mineclip.clips import ClipStore, load_clips
from research.train_mineclip.contrastive import (
    ContrastiveSettings,
    augment,
    contrastive_loss,
    noisy_tokens,
    train_mineclip,
)
from steve1.core.errors import UserError
from steve1.data.episodes.captions import read_captions
from steve1.data.episodes.episode import Episode
from steve1.mineclip import load_mineclip
from steve1.mineclip.config import from_dict
from steve1.mineclip.temporal import TemporalEncoder
from steve1.mineclip.tokenizer import END, START, tokenize
from tests.research.shapes import CAPTIONS, HELD_OUT, TABLE, write_shapes

SIZES = {
    "embed_dim": 32,
    "resolution": [40, 64],
    "patch": 8,
    "vision_width": 32,
    "vision_layers": 1,
    "vision_heads": 1,
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 1,
    "temporal_layers": 1,
    "temporal_heads": 1,
    "max_frames": 16,
    "adapter_layers": 0,
}
SETTINGS = ContrastiveSettings(
    model=SIZES,
    steps=60,
    batch_size=12,
    frames_per_clip=4,
    eval_every=30,
    warmup_steps=5,
    learning_rate=3e-3,
    bf16=False,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes")
    write_shapes(path / "episodes", 4)
    (path / "captions.yaml").write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def clips(folder: Path) -> ClipStore:
    return load_clips([folder / "episodes"], (40, 64), read_captions(folder / "captions.yaml"))


def test_the_same_behaviour_is_no_negative() -> None:
    """Two clips of one behaviour with one caption: told to be apart, the loss could not reach zero; here it does."""
    axes = torch.eye(3)
    video = text = axes[[0, 0, 1, 2]]
    behaviours = torch.tensor([0, 0, 1, 2])
    loss = float(contrastive_loss(video, text, behaviours, torch.tensor(50.0)))
    naive = float(F.cross_entropy(50 * video @ text.t(), torch.arange(4)))
    assert loss < 1e-6
    assert naive > 0.3


def test_the_loss_is_infonce_where_all_behaviours_differ() -> None:
    video, text = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    logits = 3 * F.normalize(video, dim=1) @ F.normalize(text, dim=1).t()
    expected = (F.cross_entropy(logits, torch.arange(5)) + F.cross_entropy(logits.t(), torch.arange(5))) / 2
    assert torch.allclose(contrastive_loss(video, text, torch.arange(5), torch.tensor(3.0)), expected)


def test_batches_are_balanced_and_a_function_of_seed_and_step(clips: ClipStore) -> None:
    batch = clips.batch(12, 5, seed=1, step=7)
    again = clips.batch(12, 5, seed=1, step=7)
    other = clips.batch(12, 5, seed=1, step=8)
    assert batch.frames.shape == (12, 5, 40, 64, 3)
    assert np.array_equal(batch.frames, again.frames)
    assert batch.captions == again.captions
    assert not np.array_equal(batch.frames, other.frames)
    assert np.bincount(batch.behaviours).tolist() == [4, 4, 4]
    assert (np.diff(batch.positions, axis=1) > 0).all()
    assert batch.positions.min() >= 0
    assert batch.positions.max() <= 15
    for caption, number in zip(batch.captions, batch.behaviours):
        assert caption in CAPTIONS[clips.behaviours[number]]


def test_held_out_episodes_are_apart(clips: ClipStore) -> None:
    train, held = clips.split(0.25, seed=0)
    assert not {e.path for e in train.episodes} & {e.path for e in held.episodes}
    for side, count in ((train, 3), (held, 1)):
        assert [sum(e.behaviour == name for e in side.episodes) for name in side.behaviours] == [count] * 3
    with pytest.raises(UserError, match="too few episodes"):
        held.split(0.5, 0)


def test_augmentation_is_mild_seeded_and_alike_within_a_clip() -> None:
    frames = torch.randint(0, 256, (3, 1, 40, 64, 3), dtype=torch.uint8).expand(3, 4, 40, 64, 3)
    changed = augment(frames, 0, 5)
    assert changed.shape == frames.shape
    assert torch.equal(changed, augment(frames, 0, 5))
    assert not torch.equal(changed, augment(frames, 0, 6))
    assert torch.equal(changed[:, 0], changed[:, 3])
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
    smooth = torch.arange(64).view(1, 1, 1, 64, 1).expand(1, 1, 40, 64, 3).to(torch.uint8) * 3
    assert float((augment(smooth, 0, 1) - smooth.float()).abs().mean()) < 40


def test_noise_only_puts_words_in() -> None:
    captions = ["look at the sky"] * 200
    ids = noisy_tokens(captions, 77, 49408, 0, 3)
    plain = [token for token in tokenize(captions[:1])[0].tolist() if token]
    lengths = set()
    for row in ids.tolist():
        tokens = row[: row.index(END) + 1]
        rest = iter(tokens)
        assert all(token in rest for token in plain)
        assert tokens[0] == START
        assert sum(row) == sum(tokens)
        lengths.add(len(tokens) - len(plain))
    assert lengths == {0, 1, 2}


def test_the_temporal_encoder_learns_the_order_of_frames() -> None:
    """The same features forwards and backwards are told apart after a short training."""
    torch.manual_seed(0)
    encoder = TemporalEncoder(from_dict({**SIZES, "temporal_layers": 1}))
    head = torch.nn.Linear(32, 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 3e-3)
    basis = torch.randn(2, 32)

    def clips_of(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        backwards = torch.randint(0, 2, (n,))
        angle = 6.3 * torch.rand(n, 1) + 0.2 * torch.arange(16) * (1 - 2 * backwards[:, None])
        return torch.stack([angle.cos(), angle.sin()], dim=-1) @ basis, backwards

    for _ in range(150):
        features, backwards = clips_of(32)
        loss = F.cross_entropy(head(encoder(features)), backwards)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features, backwards = clips_of(400)
    assert float((head(encoder(features)).argmax(1) == backwards).float().mean()) > 0.9


@pytest.mark.e2e
def test_it_learns_from_clips_and_words(clips: ClipStore, tmp_path: Path) -> None:
    figures = train_mineclip(clips, tmp_path / "m.safetensors", SETTINGS, run=tmp_path / "run")
    assert figures["episodes"] == 3
    assert figures["episode_accuracy"] == 1.0
    assert figures["clip_accuracy"] > 0.8
    assert figures["paraphrase_text_accuracy"] == 1.0
    model = load_mineclip(tmp_path / "m.safetensors")
    assert model.embed_dim == 32
    held = clips.split(SETTINGS.val_fraction, SETTINGS.seed)[1]
    text = model.encode_text([HELD_OUT[name] for name in clips.behaviours])
    for episode in held.episodes:
        video = torch.from_numpy(model.embed_episode(iter(episode.frames))[15:])
        assert clips.behaviours[int(model.scores(video, text).mean(0).argmax())] == episode.behaviour
    rows = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert [row["step"] for row in rows] == [30, 60]
    assert rows[1]["train/loss"] < rows[0]["train/loss"]
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_resume_equals_never_having_stopped(clips: ClipStore, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, _scalars: dict[str, float]) -> None:
        if step == 5:
            raise Stop

    settings = ContrastiveSettings(**{**SETTINGS.__dict__, "steps": 8, "eval_every": 4})
    train_mineclip(clips, tmp_path / "a.safetensors", settings, run=tmp_path / "a")
    with pytest.raises(Stop):
        train_mineclip(clips, tmp_path / "b.safetensors", settings, run=tmp_path / "b", on_step=stop)
    steps: list[int] = []
    train_mineclip(
        clips, tmp_path / "b.safetensors", settings, run=tmp_path / "b", on_step=lambda step, _: steps.append(step)
    )
    assert steps[0] == 5
    (tmp_path / "a.safetensors").rename(tmp_path / "kept.safetensors")
    with pytest.raises(UserError, match="weights are gone"):
        train_mineclip(clips, tmp_path / "a.safetensors", settings, run=tmp_path / "a")
    (tmp_path / "kept.safetensors").rename(tmp_path / "a.safetensors")
    a, b = (load_mineclip(tmp_path / f"{name}.safetensors") for name in "ab")
    for ours, theirs in zip(a.parameters(), b.parameters()):
        assert torch.equal(ours, theirs)


@pytest.mark.e2e
def test_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizes.json").write_text(json.dumps(SIZES))
    args = Args(
        dataset_dir=(str(folder / "episodes"),),
        out_weights=str(tmp_path / "m.safetensors"),
        config=str(tmp_path / "sizes.json"),
        captions=str(folder / "captions.yaml"),
        steps=4,
        batch_size=6,
        eval_every=2,
        device="cpu",
    )
    main(args)
    assert "clip_accuracy" in capsys.readouterr().out
    run = tmp_path / "data" / "finetuning_checkpoint" / "m"
    assert set(json.loads((run / "retrieval.json").read_text())) >= {"clip_accuracy", "confusion"}
    with pytest.raises(UserError, match="exists"):
        main(Args(**{**args.__dict__, "resume": False}))
    with pytest.raises(UserError, match="other settings"):
        main(Args(**{**args.__dict__, "learning_rate": 1e-4}))


def test_bad_datasets_are_named(folder: Path, tmp_path: Path) -> None:
    table = read_captions(folder / "captions.yaml")
    one = folder / "episodes" / "grow_0"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "e").symlink_to(one)
    assert len(Episode(one)) == 40
    with pytest.raises(UserError, match="at least two behaviours"):
        load_clips([tmp_path / "d"], (40, 64), table)
    with pytest.raises(UserError) as caught:
        ContrastiveSettings(model={"embed_dim": -1}).check()
    assert "embed_dim" in str(caught.value)
    with pytest.raises(UserError, match="cannot be used"):
        ContrastiveSettings(steps=0, learning_rate=0).check()
