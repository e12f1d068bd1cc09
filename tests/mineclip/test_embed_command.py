"""The embedding command on real episodes: whole, resumed, foreign, broken."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steve1 import actions
from steve1.commands.data.embed import Args, main
from steve1.core import tuning
from steve1.core.errors import UserError
from steve1.core.tuning import Choice, Tuned
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import save_mineclip


def write_episode(path: Path, n: int, seed: int = 0, keep: bool = True) -> None:
    """A native episode of smooth random pictures."""
    rng = np.random.default_rng(seed)
    with EpisodeWriter(path, {"behaviour": "wander"}, keep_mineclip_frames=keep) as writer:
        for _ in range(n):
            coarse = rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)
            writer.add(np.kron(coarse, np.ones((32, 32, 1), np.uint8)), actions.null_action())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for i, n in enumerate((20, 33)):
        write_episode(tmp_path / "dataset_x.y" / f"episode_{i}", n, seed=i)
    return tmp_path / "dataset_x.y"


@pytest.fixture
def weights(tmp_path: Path, small: MineCLIP) -> Path:
    save_mineclip(small, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def args(dataset: Path, weights: Path, **more: object) -> Args:
    return Args(dataset_dir=str(dataset), weights=str(weights), device="cpu", batch=8, **more)  # type: ignore[arg-type]


def test_every_episode_gets_what_the_model_says(dataset: Path, weights: Path, small: MineCLIP) -> None:
    assert main(args(dataset, weights)) == 0
    for i, n in enumerate((20, 33)):
        episode = Episode(dataset / f"episode_{i}")
        assert episode.goals.shape == (n, 64)
        assert np.isnan(episode.goals[:15]).all()
        expected = small.embed_episode(episode.mineclip_frames())
        assert np.abs(episode.goals[15:] - expected[15:]).max() < 1e-5
        note = episode.metadata["mineclip"]
        assert note["frames"] == "frames_mineclip"
        assert len(note["sha256"]) == 64
        assert episode.metadata["behaviour"] == "wander"


def test_a_batch_that_was_measured(dataset: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The goals are those of any other batch; afterwards torch has its threads again."""
    asked: list[float] = []

    def measured(about: object, choices: list[Choice], attempt: Callable[[Choice], float], *rest: object) -> Tuned:
        asked.append(attempt(Choice(5, 1)))
        return Tuned(Choice(5, 1), choices[0], 2.0, 1.0)

    main(args(dataset, weights))
    wanted = Episode(dataset / "episode_1").goals[15:].copy()
    monkeypatch.setattr(tuning, "tune", measured)
    assert main(dataclasses.replace(args(dataset, weights), batch="auto", overwrite=True)) == 0
    assert asked == [5.0]
    assert np.abs(Episode(dataset / "episode_1").goals[15:] - wanted).max() < 1e-5


def test_a_second_run_does_nothing_and_a_cut_off_one_is_finished(
    dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(args(dataset, weights))
    times = {path: path.stat().st_mtime_ns for path in dataset.glob("*/embeds_attn.npy")}
    assert len(times) == 2
    assert main(args(dataset, weights)) == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.glob("*/embeds_attn.npy")} == times
    assert "2 already done" in capsys.readouterr().out
    (dataset / "episode_1" / "embeds_attn.npy").unlink()
    main(args(dataset, weights))
    assert "1 episodes embedded (33 frames" in capsys.readouterr().out


def test_goals_that_came_with_the_episode_stay(dataset: Path, weights: Path) -> None:
    """Without a note they are the user's own."""
    own = np.zeros((20, 64), np.float32)
    np.save(dataset / "episode_0" / "embeds_attn.npy", own)
    main(args(dataset, weights))
    assert np.array_equal(Episode(dataset / "episode_0").goals, own)
    assert Episode(dataset / "episode_1").has_goals


def test_goals_of_another_length_are_named(dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(dataset / "episode_0" / "embeds_attn.npy", np.zeros((19, 64), np.float32))
    assert main(args(dataset, weights)) == 1
    assert "do not fit the frames" in capsys.readouterr().out


def test_a_kill_while_overwriting_leaves_no_contradiction(
    dataset: Path, weights: Path, small: MineCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between note and goals: the goals are gone, and the same command makes them."""
    main(args(dataset, weights))
    small.vision.projection.mul_(2)
    save_mineclip(small, tmp_path / "other.safetensors")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("steve1.mineclip.embed.write_goals", cut)
        with pytest.raises(KeyboardInterrupt):
            main(args(dataset, tmp_path / "other.safetensors", overwrite=True))
    assert not Episode(dataset / "episode_0").has_goals
    assert main(args(dataset, tmp_path / "other.safetensors", overwrite=True)) == 0
    digests = {Episode(path).metadata["mineclip"]["sha256"] for path in dataset.iterdir() if path.is_dir()}
    assert len(digests) == 1


def test_a_full_disk_while_overwriting_pickled_goals_leaves_no_contradiction(
    dataset: Path, weights: Path, small: MineCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the old goals of a guide's episode stayed with the note that the new MineCLIP had made them."""
    main(args(dataset, weights))
    exported = tmp_path / "guide"
    for path in find_episodes(dataset):
        export_episode(path, exported / path.name, "guide")
    small.vision.projection.mul_(2)
    save_mineclip(small, tmp_path / "other.safetensors")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("steve1.mineclip.embed.write_goals", full)
        with pytest.raises(OSError, match="No space"):
            main(args(exported, tmp_path / "other.safetensors", overwrite=True))
    assert not Episode(exported / "episode_0").has_goals
    assert Episode(exported / "episode_1").has_goals
    assert main(args(exported, tmp_path / "other.safetensors", overwrite=True)) == 0
    for path in find_episodes(exported):
        expected = small.embed_episode(Episode(path).mineclip_frames())
        assert np.abs(Episode(path).goals[15:] - expected[15:]).max() < 1e-5
        assert not (path / "embeds_attn.pkl").exists(), "goals of two MineCLIPs in one episode"


def test_other_weights_are_refused_until_overwrite(
    dataset: Path, weights: Path, small: MineCLIP, tmp_path: Path
) -> None:
    main(args(dataset, weights))
    before = np.array(Episode(dataset / "episode_0").goals)
    small.vision.projection.mul_(2)
    save_mineclip(small, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="other MineCLIP weights") as caught:
        main(args(dataset, tmp_path / "other.safetensors"))
    assert "--overwrite" in str(caught.value)
    assert np.array_equal(before, Episode(dataset / "episode_0").goals, equal_nan=True)
    assert main(args(dataset, tmp_path / "other.safetensors", overwrite=True)) == 0
    assert not np.array_equal(before, Episode(dataset / "episode_0").goals, equal_nan=True)


def test_half_precision_on_disk(dataset: Path, weights: Path) -> None:
    main(args(dataset, weights, half=True))
    assert Episode(dataset / "episode_0").goals.dtype == np.float16


def test_enlarged_frames_are_warned_of_and_noted(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_episode(tmp_path / "d" / "e", 18, keep=False)
    main(args(tmp_path / "d", weights))
    assert "enlarged" in capsys.readouterr().out
    assert Episode(tmp_path / "d" / "e").metadata["mineclip"]["frames"] == "enlarged 128x128 frames"


def test_a_broken_episode_is_named_and_the_others_are_made(
    dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "episode_0" / "frames_mineclip.mp4").write_bytes(b"no video")
    assert main(args(dataset, weights)) == 1
    out = capsys.readouterr().out
    assert "episode_0" in out
    assert "does not open" in out
    assert not (dataset / "episode_0" / "embeds_attn.npy").exists()
    assert Episode(dataset / "episode_1").has_goals


def test_faults_before_anything_starts(dataset: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="were not found"):
        main(args(dataset, tmp_path / "none.pth"))
    with pytest.raises(UserError, match="does not exist"):
        main(args(tmp_path / "nowhere", weights))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no episodes"):
        main(args(tmp_path / "empty", weights))
    with pytest.raises(UserError, match="device"):
        main(Args(dataset_dir=str(dataset), weights=str(weights), device="cuda:99"))


def test_goals_that_were_made_otherwise_are_named(
    dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args(dataset, weights)) == 0
    assert main(args(dataset, weights)) == 0
    assert "note" not in capsys.readouterr().out
    assert main(args(dataset, weights, half=True)) == 0
    text = capsys.readouterr().out
    assert "episode_0, episode_1: embedded with dtype float32 (now float16)" in text
    assert "--overwrite" in text
    assert Episode(dataset / "episode_0").goals.dtype == np.float32
