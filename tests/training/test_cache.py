"""The cache of image features: what it holds, that training on it is training on frames, and that it goes on after a kill."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch

from steve1.commands.train.cache_features import Args, main
from steve1.core.device import set_tf32
from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.loading.batches import batches
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, load_policy
from steve1.training import cache as module
from steve1.training.batches import to_device
from steve1.training.cache import FeatureCache, cnn_hash, read_features
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.objectives import BehaviorCloning, LossModule
from steve1.training.train import finetune
from tests.training.conftest import SHORT, STILL, apart, mean_gradients

Make = Callable[..., TrainSettings]


@pytest.fixture
def policy(tiny: Path) -> GoalPolicy:
    found = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    found.net.img_process.cnn.requires_grad_(False)
    return found


@pytest.fixture
def episodes(tiny: Path) -> list[Path]:
    return [tiny / "dataset_a" / f"ep{number}" for number in range(2)]


def windows(episodes: list[Path]) -> WindowDataset:
    return WindowDataset([ListEntry(path, None, number) for number, path in enumerate(episodes)], 24, seed=3)


def test_rows_are_the_dense_features_of_the_frames(policy: GoalPolicy, episodes: list[Path], tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, policy, dtype="float32")
    need = cache.need(episodes)
    assert (len(need.episodes), need.frames, need.bytes) == (2, 128, 128 * 256 * 4)
    counted: list[int] = []
    cache.fill(episodes, counted.append)
    assert sum(counted) == 128
    assert cache.need(episodes).episodes == []
    rows = np.load(cache.file_of(episodes[1]), mmap_mode="r")
    with torch.no_grad():
        wanted = policy.net.img_process.dense(torch.from_numpy(Episode(episodes[1]).frames(0, 64)))
    assert np.array_equal(rows, wanted.numpy())
    assert rows.dtype == np.float32


def test_windows_hold_rows_for_any_number_of_workers(policy: GoalPolicy, episodes: list[Path], tmp_path: Path) -> None:
    plain, cached = windows(episodes), windows(episodes)
    cache = FeatureCache(tmp_path, policy)
    with pytest.raises(UserError, match="have not been computed"):
        cache.serve(cached)
    cache.fill(episodes)
    cache.serve(cached)
    alone, helped = (next(batches(cached, 2, workers=workers, start_batch=1)) for workers in (0, 1))
    pixels = next(batches(plain, 2, start_batch=1))
    assert alone["features"].dtype == torch.float16
    assert alone["features"].shape == (2, 24, 256)
    assert "frames" not in alone
    for name, value in alone.items():
        if name == "features":
            assert torch.equal(value, helped[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, helped[name]), name
            assert torch.equal(value, pixels[name]), name
        else:
            assert value == helped[name] == pixels[name], name


def losses_of(policy: GoalPolicy, dataset: WindowDataset) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    batch = next(batches(dataset, 2))
    policy.zero_grad(set_to_none=True)
    loss = LossModule(policy, [BehaviorCloning(policy)])(
        to_device(batch, 0, 24, policy.device), policy.initial_state(2)
    ).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def test_loss_and_gradients_equal_those_on_frames(policy: GoalPolicy, episodes: list[Path], tmp_path: Path) -> None:
    frozen, of_frozen = losses_of(policy, windows(episodes))
    assert not any(".cnn." in name for name in of_frozen)
    for dtype, near in (("float32", 1e-3), ("float16", 2e-2)):
        cached = windows(episodes)
        cache = FeatureCache(tmp_path, policy, dtype=dtype)  # type: ignore[arg-type]
        cache.fill(episodes)
        cache.serve(cached)
        loss, gradients = losses_of(policy, cached)
        assert float((loss - frozen).abs()) < near / 10
        assert apart(of_frozen, gradients) < near


@pytest.mark.e2e
def test_a_run_on_the_cache_is_the_run_on_frames(settings: Make, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "finetune_mode": "frozen_cnn",
        "cache_dir": str(tmp_path / "cache"),
        "cache_dtype": "float32",
        "learning_rate": STILL,
        **SHORT,
        "val_freq": 3,
    }
    plain = finetune(settings(out_weights=str(tmp_path / "plain.weights"), **common))
    cached = finetune(settings(out_weights=str(tmp_path / "cached.weights"), feature_cache=True, **common))
    assert cached.best_score == pytest.approx(plain.best_score, rel=1e-5)
    assert apart(mean_gradients(plain.run_dir), mean_gradients(cached.run_dir)) < 1e-2
    assert (cached.run_dir / "first_batch.png").is_file()


def test_a_cut_computation_goes_on(policy: GoalPolicy, episodes: list[Path], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "ROWS", 16)
    whole = FeatureCache(tmp_path / "whole", policy)
    whole.fill(episodes[:1])
    cut = FeatureCache(tmp_path / "cut", policy)

    def stop_after(count: int) -> Callable[[int], None]:
        seen: list[int] = []

        def on_frames(done: int) -> None:
            seen.append(done)
            if sum(seen) >= count:
                raise KeyboardInterrupt

        return on_frames

    with pytest.raises(KeyboardInterrupt):
        cut.fill(episodes[:1], stop_after(32))
    part = cut.file_of(episodes[0]).with_suffix(".npy.part")
    with open(part, "ab") as file:
        file.write(b"half a row")
    assert cut.need(episodes[:1]).episodes == episodes[:1]
    counted: list[int] = []
    cut.fill(episodes[:1], counted.append)
    assert counted == [32, 16, 16]
    assert cut.file_of(episodes[0]).read_bytes() == whole.file_of(episodes[0]).read_bytes()
    part.write_bytes(b"\x93NUMPY damaged")
    cut.file_of(episodes[0]).unlink()
    cut.fill(episodes[:1])
    assert cut.file_of(episodes[0]).read_bytes() == whole.file_of(episodes[0]).read_bytes()


def test_two_runs_do_not_write_the_same_features_at_once(
    policy: GoalPolicy, episodes: list[Path], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "ROWS", 16)
    whole, mine, other = (FeatureCache(tmp_path / name, policy) for name in ("whole", "both", "both"))
    whole.fill(episodes[:1])
    part = mine.file_of(episodes[0]).with_suffix(".npy.part")
    tried: list[bool] = []

    def try_to_write(_: int) -> None:
        with open(part, "a+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tried.append(True)

    mine.fill(episodes[:1], try_to_write)
    assert len(tried) == 5
    assert mine.file_of(episodes[0]).read_bytes() == whole.file_of(episodes[0]).read_bytes()
    # Whoever waited for the other run finds the features there, and adds nothing to them.
    mine.file_of(episodes[0]).unlink()
    real = module._lock

    def wait_for_other(file: IO[bytes]) -> None:
        monkeypatch.setattr(module, "_lock", real)
        other.fill(episodes[:1])
        real(file)

    monkeypatch.setattr(module, "_lock", wait_for_other)
    counted: list[int] = []
    mine.fill(episodes[:1], counted.append)
    assert counted == [64]
    assert mine.file_of(episodes[0]).read_bytes() == whole.file_of(episodes[0]).read_bytes()
    assert not part.exists()


def test_a_gpu_does_not_round_the_factors_of_features(policy: GoalPolicy, episodes: list[Path], tmp_path: Path) -> None:
    """Training computes them so, and the commands that compute them ahead fill the same cache."""
    before = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    set_tf32(True)
    seen: list[str] = []
    try:
        FeatureCache(tmp_path, policy).fill(
            episodes[:1],
            lambda _: seen.append(torch.backends.cudnn.conv.fp32_precision),  # type: ignore[attr-defined]
        )
    finally:
        set_tf32(False)
        torch.backends.cudnn.conv.fp32_precision = before  # type: ignore[attr-defined]
    assert set(seen) == {"ieee"}


def test_damaged_features_are_named(policy: GoalPolicy, episodes: list[Path], tmp_path: Path) -> None:
    cache, dataset = FeatureCache(tmp_path, policy), windows(episodes)
    cache.fill(episodes)
    cache.serve(dataset)
    file = cache.file_of(episodes[0])
    with open(file, "rb+") as handle:
        handle.truncate(1000)
    with pytest.raises(UserError, match="image features is damaged") as fault:
        for number in range(len(dataset)):
            dataset.window(0, number)
    assert fault.value.todo.startswith(f"rm {shlex.quote(str(file))}")
    file.unlink()
    cache.fill(episodes)
    assert cache.rows_of(episodes[0]).shape == (64, 256)


def test_other_weights_precision_or_pictures_are_another_cache(
    policy: GoalPolicy, episodes: list[Path], tmp_path: Path
) -> None:
    first = FeatureCache(tmp_path, policy)
    assert FeatureCache(tmp_path, policy, precision=torch.bfloat16).folder != first.folder
    assert FeatureCache(tmp_path, policy, dtype="float32").folder != first.folder
    before = cnn_hash(policy)
    with torch.no_grad():
        policy.pi_head.buttons.linear_layer.weight.mul_(2)
    assert cnn_hash(policy) == before
    with torch.no_grad():
        policy.net.img_process.cnn.dense.layer.weight[0, 0] += 1e-6
    assert FeatureCache(tmp_path, policy).folder != first.folder
    copy = tmp_path / "episode"
    shutil.copytree(episodes[0], copy)
    named = FeatureCache(tmp_path, policy).file_of(copy)
    os.utime(copy / "embeds_attn.npy", (1, 1))
    assert FeatureCache(tmp_path, policy).file_of(copy) == named
    os.utime(copy / "frames.jpgs", (1, 1))
    assert FeatureCache(tmp_path, policy).file_of(copy) != named


def test_what_cannot_be_cached_is_said(
    policy: GoalPolicy, episodes: list[Path], settings: Make, tmp_path: Path, monkeypatch: Any
) -> None:
    policy.net.img_process.cnn.dense.norm.weight.data.fill_(1e9)
    with pytest.raises(UserError, match="not numbers that the cache can hold") as fault:
        FeatureCache(tmp_path, policy).fill(episodes)
    assert "float32" in str(fault.value)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match="do not fit on the disk"):
        FeatureCache(tmp_path, policy).fill(episodes)
    policy.requires_grad_(True)
    with pytest.raises(UserError, match="CNN that is not trained"):
        read_features(settings(), policy, [windows(episodes)], Ranks(0, 1, torch.device("cpu")), torch.float32)
    with pytest.raises(UserError, match="feature_cache needs a CNN"):
        check(settings(feature_cache=True))


def test_the_command(tiny: Path, tmp_path: Path, capsys: Any) -> None:
    common: dict[str, Any] = {
        "in_model": str(tiny / "tiny.model"), "in_weights": str(tiny / "tiny.weights"), "cache_dir": str(tmp_path), "device": "cpu",
        "sampling_name": "tiny", "sampling_dir": str(tiny / "samplings"), "precision": "fp32",
    }  # fmt: skip
    main(Args(**common, dry_run=True))
    assert "6 of 6 episodes without features: 384 frames" in capsys.readouterr().out
    main(Args(**common))
    assert "384 frames computed; 6 episodes" in capsys.readouterr().out
    main(Args(**common, dataset_dir=[tiny / "dataset_b"]))
    assert "nothing was missing; 1 episode in" in capsys.readouterr().out
    with pytest.raises(UserError, match="no such sampling"):
        main(Args(**{**common, "sampling_name": "other"}))
