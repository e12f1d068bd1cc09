"""Training an inverse dynamics model: what it sees, that it learns, that it resumes; the motion input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from steve1 import actions as act
from steve1.actions import to_bins
from steve1.commands.train import train_idm as command
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.loading.lists import read_list
from steve1.idm import InverseDynamicsModel, load_idm, read_idm_model
from steve1.idm.config import IdmConfig, write_idm_model
from steve1.idm.label import Labels, label, window_plan
from steve1.idm.labelling.settings import IdmFiles
from steve1.idm.motion import PLACES
from steve1.idm.training import loop
from steve1.idm.training.loop import (
    _NOT_TRAINED,
    Start,
    _answer_with_frequencies,
    _check_model_file,
    _read,
    judged,
    optimize,
    train_idm,
    window_loss,
)
from steve1.idm.training.settings import MINI, IdmTrainSettings
from steve1.idm.training.windows import IdmBatch, TrueEpisode, Windows, changed, mirrored, read_episodes, through_h264
from steve1.policy.parameters import parameter_groups
from steve1.policy.weights import save_weights
from tests.data.videos.films import pictures, turns

TINY = dataclasses.replace(
    MINI, hidsize=48, timesteps=16, attention_memory_size=16, n_recurrence_layers=1, impala_chans=(2, 4, 4), img_shape=(128, 128, 4)
)  # fmt: skip
SETTINGS = IdmTrainSettings(batch_size=2, total_frames=2 * 16 * 4, warmup_steps=2, val_freq=2, mirror=0.0, compress=0.0)


def write_film(path: Path, count: int, seed: int, **metadata: Any) -> Path:
    """A native episode of a turning camera; jump is held while it turns left."""
    degrees = turns(count, seed)
    with EpisodeWriter(path, {"source": "test", **metadata}, keep_mineclip_frames=False) as writer:
        for frame, camera in zip(pictures(degrees, seed=seed % 3), degrees):
            jump = int(camera[1] < 0)
            writer.add(frame, {**act.null_action(), "jump": jump, "camera": camera.tolist()})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes, and the lists of a sampling "idm"."""
    root = tmp_path_factory.mktemp("idm")
    names = [write_film(root / "data" / f"e{number}", 120, number) for number in range(3)]
    names.append(write_film(root / "data" / "e3", 48, 3))  # it is labelled as a whole at each validation
    (root / "idm_train.txt").write_text("\n".join(map(str, names[:3])) + "\n")
    (root / "idm_val.txt").write_text(f"{names[3]}\n")
    return root


def episodes(folder: Path, part: str = "train") -> list[TrueEpisode]:
    return read_episodes(read_list(folder / f"idm_{part}.txt"), TINY.timesteps)[0]


def test_the_motion_input_is_a_setting_of_the_model_file(tmp_path: Path) -> None:
    write_idm_model(TINY, tmp_path / "tiny.model")
    assert read_idm_model(tmp_path / "tiny.model") == TINY
    names = set(InverseDynamicsModel(TINY).state_dict())
    without = set(InverseDynamicsModel(dataclasses.replace(TINY, motion_reach=0)).state_dict())
    own = {
        "out.norm.weight",
        "out.norm.bias",
        "out.layer.weight",
        *(f"moved.{number}.{part}" for number in (0, 2) for part in ("weight", "bias")),
    }
    assert names - without == {f"net.motion.{name}" for name in own}
    with pytest.raises(UserError, match="contradict"):
        dataclasses.replace(TINY, motion_reach=99)


def test_the_motion_input_sees_displacement_and_nothing_after_the_last_frame() -> None:
    torch.manual_seed(0)
    model = InverseDynamicsModel(TINY)
    assert model.net.motion is not None
    rng = np.random.default_rng(0)
    still = cv2.resize(rng.integers(0, 256, (32, 32, 3), np.uint8), (128, 128))
    frames = torch.from_numpy(
        np.stack(
            [np.zeros_like(still)] * 2 + [np.roll(still, 8 * n, axis=1) for n in range(3)] + [np.zeros_like(still)] * 2
        )
    )
    spectra = model.net.motion.spectra(frames)
    moved, whole = model.net.motion.compared(spectra[:-1], spectra[1:])
    side, reach = 2 * TINY.motion_reach + 1, TINY.motion_reach
    # Four pixels of 64 to the right: what is here now is there in the next frame.
    assert [divmod(int(row.argmax()), side) for row in whole[2:4]] == [(reach, reach + 4)] * 2
    windows = moved.unflatten(1, (PLACES + 1, 4)) * 8
    down, right, fits, still_fits = windows[2:4].flatten(0, 1).T
    assert torch.allclose(down, torch.zeros_like(down), atol=0.2)
    assert torch.allclose(right, torch.full_like(right, 4.0), atol=0.4)
    assert (fits > 2 * still_fits).all()
    for black in (0, 1, 4, 5):
        assert moved[black].abs().max() < 1e-5
        assert not whole[black].any()


def test_streaming_with_the_motion_input_equals_window_by_window() -> None:
    torch.manual_seed(0)
    model = InverseDynamicsModel(TINY).initialise().eval()
    frames = np.random.default_rng(0).integers(0, 256, (41, 128, 128, 3), np.uint8)
    found = label(model, iter(frames))
    with torch.no_grad():
        for start, end, kept, kept_end in window_plan(41, 16, 8, "aligned"):
            whole = model(torch.from_numpy(frames[start:end])[None])
            np.testing.assert_allclose(
                found.camera[kept:kept_end], whole.camera[0, kept - start : kept_end - start], atol=5e-4
            )
    assert set(np.unique(found.overlap)) <= {-1, 0, 1}
    assert (found.overlap[8:33] >= 0).all()


def test_a_mirrored_window_turns_the_other_way(folder: Path) -> None:
    found = episodes(folder)
    plain, mirror = (
        Windows(found, 16, dataclasses.replace(SETTINGS, augment=False, mirror=share)).load(5) for share in (0.0, 1.0)
    )
    assert torch.equal(mirror.frames, plain.frames.flip(3))
    assert torch.equal(mirror.camera[..., 0], plain.camera[..., 0])
    assert torch.equal(mirror.camera[..., 1], 10 - plain.camera[..., 1])
    left, right = act.BUTTONS.index("left"), act.BUTTONS.index("right")
    pressed = np.zeros((1, 20), bool)
    pressed[0, [left, act.BUTTONS.index("jump")]] = True
    _, swapped, _ = mirrored(np.zeros((1, 8, 8, 3), np.uint8), pressed, np.full((1, 2), 5))
    assert np.flatnonzero(swapped[0]).tolist() == sorted([right, act.BUTTONS.index("jump")])
    with pytest.raises(UserError, match=r"mirror must be between 0 and 1, got 2"):
        dataclasses.replace(SETTINGS, mirror=2.0).check()


def test_windows_follow_from_seed_and_step(folder: Path) -> None:
    found = episodes(folder)
    windows, same = (Windows(found, 16, SETTINGS) for _ in range(2))
    one, two = windows.load(3), same.load(3)
    assert torch.equal(one.frames, two.frames)
    assert not torch.equal(one.frames, windows.load(4).frames)
    assert one.frames.shape == (2, 16, 128, 128, 3)
    assert one.buttons.shape == (2, 16, 20)
    plain = Windows(found, 16, dataclasses.replace(SETTINGS, augment=False)).load(0)
    frames = {each.episode.path: each.episode.frames(0, len(each)) for each in found}
    for window, camera in zip(plain.frames.numpy(), plain.camera.numpy()):
        places = [
            (each, start) for each in found for start in range(len(each) - 15)
            if (frames[each.episode.path][start] == window[0]).all() and (each.bins[start : start + 16] == camera).all()
        ]  # fmt: skip
        assert places, "frames and actions are of one place"


def test_windows_with_rare_presses_are_drawn_more_often(folder: Path) -> None:
    found = episodes(folder)
    use = act.BUTTONS.index("use")
    found[0].pressed[60, use] = True

    def share(times: float) -> float:
        windows = Windows(found, 16, dataclasses.replace(SETTINGS, rare_presses=times, batch_size=64, augment=False))
        assert windows.rare.sum() == 1
        return float(np.mean([(windows.load(step).buttons[..., use].sum(1) > 0).float().mean() for step in range(3)]))

    once, thrice = share(1.0), share(3.0)
    found[0].pressed[60, use] = False
    assert 1.5 * once < thrice


def test_a_change_is_the_same_in_all_frames_of_a_window() -> None:
    frames = np.stack([next(pictures(turns(1)))] * 3)
    found = changed(frames, np.random.default_rng(0))
    assert (found == found[0]).all()
    assert not (found[0] == frames[0]).all()
    assert np.abs(found.mean() - frames.mean()) < 60
    coded = through_h264(frames, 35)
    assert coded.shape == frames.shape
    assert 0.5 < np.abs(coded.astype(int) - frames).mean() < 30


def test_episodes_without_their_null_frames_are_left_out(tmp_path: Path) -> None:
    write_film(tmp_path / "good", 40, 0)
    write_film(tmp_path / "dropped", 40, 0, null_frames_dropped=3)
    write_film(tmp_path / "labelled", 40, 0, source_kind="video")
    write_film(tmp_path / "short", 10, 0)
    # As conversion leaves them that went through another program's format.
    facts = {"source_kind": "episode", "null_frames_dropped": 0}
    write_film(tmp_path / "dropped2", 40, 0, **facts, origin={"null_frames_dropped": 3})
    write_film(tmp_path / "labelled2", 40, 0, **facts, origin={"origin": {"source_kind": "video"}})
    names = ("good", "dropped", "labelled", "short", "dropped2", "labelled2")
    (tmp_path / "x_train.txt").write_text("\n".join(str(tmp_path / name) for name in names))
    found, notes = read_episodes(read_list(tmp_path / "x_train.txt"), 16)
    assert [each.episode.path.name for each in found] == ["good"]
    assert len(notes) == 3
    (tmp_path / "x_train.txt").write_text(f"{tmp_path / 'dropped'}\n")
    with pytest.raises(UserError, match="No episode") as fault:
        read_episodes(read_list(tmp_path / "x_train.txt"), 16)
    assert "NULLS=keep" in fault.value.todo


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"learning_rate": 0.0}, {"compress": 2.0}, {"val_freq": -1}])
def test_settings_that_cannot_be_used(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        dataclasses.replace(SETTINGS, **change).check()


def test_a_step_that_is_not_finite_changes_no_weight_and_is_named() -> None:
    model = Start(TINY).model(0, "cpu")
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), 1e-3, fused=True)
    frames = torch.randint(0, 255, (1, 16, 128, 128, 3), dtype=torch.uint8)
    batch = IdmBatch(frames, torch.zeros(1, 16, 20, dtype=torch.long), torch.zeros(1, 16, 2, dtype=torch.long))
    head = model.pi_head.camera["linear_layer"]
    with torch.no_grad():
        head.bias[0] = float("inf")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured = optimize(model, optimizer, batch, 1e-3, 5.0, contextlib.nullcontext())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(UserError, match="not finite") as fault:
        _read(measured, 1e-3, 7)
    assert fault.value.where == "step 7"


@pytest.mark.e2e
def test_an_interrupted_run_ends_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    train, val = episodes(folder), episodes(folder, "val")

    def run(name: str, stop_at: int = 0, workers: int = 0) -> Path:
        def stop(step: int, figures: dict[str, float]) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        output = tmp_path / f"{name}.weights"
        train_idm(train, val, Start(TINY), output, SETTINGS, run=tmp_path / name, workers=workers, on_step=stop)
        return output

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", 3)
    again = run("broken", workers=1)
    one, two = (torch.load(path, weights_only=True) for path in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    rows = json.loads((tmp_path / "broken" / "curves.json").read_text())
    assert [row["step"] for row in rows] == [2, 4]
    assert list((tmp_path / "broken").glob("events*"))
    assert "not labelled well" in (tmp_path / "broken" / "report.html").read_text("utf-8")
    metadata = json.loads((tmp_path / "broken.weights.json").read_text())
    assert metadata["window"] == 16
    assert IdmFiles.of(tmp_path / "broken.model", again).thresholds is not None
    assert load_idm(tmp_path / "broken.model", again).config == TINY
    with pytest.raises(UserError, match="other settings"):
        train_idm(train, val, Start(TINY), whole, dataclasses.replace(SETTINGS, seed=1), run=tmp_path / "whole")


@pytest.mark.e2e
def test_the_start_is_averaged_into_what_is_kept(folder: Path, tmp_path: Path) -> None:
    """The last weights, by request, and three quarters of them with a quarter of the start."""
    train, val = episodes(folder), episodes(folder, "val")
    settings = dataclasses.replace(SETTINGS, best_by="last", total_frames=2 * 16)
    start = Start(TINY, tmp_path / "start.weights")
    save_weights(InverseDynamicsModel(TINY).initialise(), tmp_path / "start.weights")
    kept = {}
    for share in (0.0, 0.25):
        output = tmp_path / f"{share}.weights"
        chosen = dataclasses.replace(settings, start_share=share)
        result, _ = train_idm(train, val, start, output, chosen, run=tmp_path / f"{share}")
        assert result.best_step == 1
        kept[share] = load_idm(TINY, output).state_dict()
    before = load_idm(TINY, start.weights).state_dict()
    assert any(not torch.equal(before[name], kept[0.0][name]) for name in before)
    for name, value in before.items():
        assert torch.allclose(kept[0.25][name], 0.25 * value + 0.75 * kept[0.0][name], atol=1e-6)
    with pytest.raises(UserError, match="no starting weights"):
        train_idm(train, val, Start(TINY), tmp_path / "x.weights", chosen, run=tmp_path / "x")


@pytest.mark.parametrize(("best_by", "step"), [("loss", 1), ("camera", 2), ("last", 3)])
def test_which_weights_are_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best_by: Any, step: int
) -> None:
    losses = iter([(1.0, 0.9), (2.0, 0.5), (3.0, 0.7)])
    monkeypatch.setattr(loop, "_validation", lambda *_: dict(zip(("val/loss", "val/camera"), next(losses))))
    settings = dataclasses.replace(SETTINGS, best_by=best_by, total_frames=2 * 16 * 3, val_freq=1)
    train, val = episodes(folder), episodes(folder, "val")
    result, _ = train_idm(train, val, Start(TINY), tmp_path / "a.weights", settings, run=tmp_path / "a")
    assert result.best_step == step


def test_weights_that_the_run_did_not_write_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.weights"
    output.write_bytes(b"mine")
    train, val = episodes(folder), episodes(folder, "val")
    for _ in range(2):  # the first refusal leaves nothing that would make the weights ours
        with pytest.raises(UserError, match="not this run's"):
            train_idm(train, val, Start(TINY), output, SETTINGS, run=tmp_path / "run")
    assert output.read_bytes() == b"mine"


def test_a_run_with_other_data_or_another_form_of_weights_does_not_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists that were made anew hold the same episodes, and may train on those that validated."""
    monkeypatch.setattr(loop, "_validation", lambda *_: {"val/loss": 1.0})
    train, val = episodes(folder), episodes(folder, "val")
    settings = dataclasses.replace(SETTINGS, total_frames=2 * 16)

    def run(train: list[TrueEpisode], val: list[TrueEpisode], **how: Any) -> None:
        train_idm(train, val, Start(TINY), tmp_path / "a.weights", settings, run=tmp_path / "a", **how)

    run(train, val)
    run(train, val)
    for name, other in (("half: False then, True now", {"half": True}), ("actions_sha256", {})):
        with pytest.raises(UserError, match=name):
            run(*((train, val) if other else ([*train[:2], *val], train[2:])), **other)
    record = tmp_path / "a" / "settings.json"
    earlier = json.loads(record.read_text())
    record.write_text(json.dumps({name: earlier[name] for name in earlier if name not in ("half", "actions_sha256")}))
    run(train, val)  # of an earlier version, which did not record them


def test_the_model_file_of_other_weights_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    train, val = episodes(folder), episodes(folder, "val")
    shutil.copy(ROOT / "data" / "mini" / "mini.model", tmp_path / "mini.model")
    for _ in range(2):
        with pytest.raises(UserError, match="not this run's"):
            train_idm(train, val, Start(TINY), tmp_path / "mini.safetensors", SETTINGS, run=tmp_path / "run")
    assert (tmp_path / "mini.model").read_bytes() == (ROOT / "data" / "mini" / "mini.model").read_bytes()
    assert not (tmp_path / "run").exists()
    write_idm_model(TINY, tmp_path / "mini.model")
    _check_model_file(tmp_path / "mini.model", TINY)  # the same network's


def test_a_fault_in_a_worker_is_told_as_in_this_process(folder: Path, tmp_path: Path) -> None:
    train, val = episodes(folder), episodes(folder, "val")

    class Gone(Episode):
        def frames(self, start: int, stop: int) -> Any:
            raise UserError("The packed frames end early.", where=f"{start}..{stop}")

    broken = [dataclasses.replace(each, episode=Gone(each.episode.path)) for each in train]
    others = set(multiprocessing.active_children())
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"^The packed frames end early\."):
            train_idm(broken, val, Start(TINY), tmp_path / "x.weights", SETTINGS, run=tmp_path / "x", workers=workers)
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.e2e
def test_it_can_learn_the_camera_of_two_windows_by_heart() -> None:
    """Gradients reach everything that is needed; how well a model labels what it has not seen is measured, not tested."""
    torch.manual_seed(0)
    model = InverseDynamicsModel(
        dataclasses.replace(TINY, impala_chans=(1, 2, 2), img_shape=(128, 128, 2))
    ).initialise()
    bins = to_bins(turns(32))
    frames = np.stack([agent_frame(frame) for frame in pictures(turns(32))])
    batch = IdmBatch(
        torch.from_numpy(frames).unflatten(0, (2, 16)),
        torch.zeros(2, 16, 20, dtype=torch.int64),
        torch.from_numpy(bins).unflatten(0, (2, 16)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(32):
        buttons, camera = window_loss(model(batch.frames), batch)
        optimizer.zero_grad()
        (buttons + camera).backward()
        optimizer.step()
    shares = [np.bincount(bins[:, axis], minlength=11) / 32 for axis in (0, 1)]
    guess = -sum(float((share[share > 0] * np.log(share[share > 0])).sum()) for share in shares)
    assert float(buttons.detach()) < 1
    assert float(camera.detach()) < 0.6 * guess, "knowing how often each bin occurs would give the other loss"


def test_a_new_model_begins_with_the_frequencies(folder: Path) -> None:
    train = episodes(folder)
    model = InverseDynamicsModel(TINY).initialise()
    _answer_with_frequencies(model, train)
    found = np.exp(model.label(iter(train[0].episode.frames(0, 40))).buttons[:, :, 1])
    jump = act.BUTTONS.index("jump")
    share = np.concatenate([each.pressed[:, jump] for each in train]).mean()
    assert found[:, jump].mean() == pytest.approx(share, abs=0.05)
    assert found[:, act.BUTTONS.index("use")].max() < 0.05


class Told:
    """A model that answers with the truth, or with no movement: 0.3 for what is pressed and 0.1 for the rest."""

    def __init__(self, found: list[TrueEpisode], knows: bool) -> None:
        self._answers = [self._labels(each, knows) for each in found]

    def _labels(self, each: TrueEpisode, knows: bool) -> Labels:
        sure = np.where(each.pressed & knows, 0.3, 0.1)
        bins = each.bins if knows else np.full_like(each.bins, 5)
        camera = np.where(np.arange(11) == bins[..., None], 0.0, -9.0)
        return Labels(np.log(np.stack([1 - sure, sure], axis=-1)), camera)

    def eval(self) -> None: ...

    def label(self, frames: Iterator[Any]) -> Labels:
        assert sum(1 for _ in frames) == len(self._answers[0].buttons)
        return self._answers.pop(0)


@pytest.mark.parametrize("knows", [True, False])
def test_thresholds_and_scores_come_from_episodes_by_turns(folder: Path, knows: bool) -> None:
    jumps = np.zeros((120, 20), np.bool_)
    jumps[::3, act.BUTTONS.index("jump")] = True
    found = [dataclasses.replace(each, pressed=jumps) for each in episodes(folder)]
    assert len(found) == 3
    scored = judged(Told(found, knows), found)  # type: ignore[arg-type]
    jump, yaw = scored.button("jump"), scored.camera[1]
    assert (scored.frames, jump.pressed) == (240, 80)
    if knows:
        assert (jump.f1, jump.precision_average, yaw.bins) == (1, 1, 1)
        assert 0.1 < jump.threshold <= 0.3
        assert yaw.r2 > 0.9
    else:
        assert jump.precision_average == pytest.approx(1 / 3)
        assert yaw.bins == yaw.bins_still < 1
        assert yaw.r2 <= 0
    alone = judged(Told(found[:1], knows), found[:1])  # type: ignore[arg-type]
    assert (alone.frames, alone.button("jump").threshold, alone.button("jump").f1) == (120, 0.5, 0)


def test_the_published_model_is_trained_on_too() -> None:
    """Only parts that take part in the computation get a gradient."""
    config = dataclasses.replace(TINY, motion_reach=0)
    model = InverseDynamicsModel(config).initialise()
    found = model(torch.zeros(1, 16, 128, 128, 3, dtype=torch.uint8))
    (found.camera.sum() + found.buttons.sum()).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.numel()}
    assert {"net.lastlayer.norm.weight", "net.lastlayer.norm.bias", "net.lastlayer.layer.weight"} <= without
    assert without == {
        name for name in without if any(part in name for part in _NOT_TRAINED)
    }  # heads are not among them


@pytest.mark.e2e
def test_every_part_that_is_computed_with_learns(folder: Path, tmp_path: Path) -> None:
    """The heads too: the name of their "linear_layer." ends like that of a part without a use, "r_layer."."""
    start, output = Start(TINY), tmp_path / "learned.weights"
    settings = dataclasses.replace(SETTINGS, val_freq=0)
    train_idm(episodes(folder), episodes(folder, "val"), start, output, settings, run=tmp_path / "run")
    before, after = start.model(SETTINGS.seed, "cpu").state_dict(), load_idm(TINY, output).state_dict()
    same = {name for name in before if torch.equal(after[name], before[name])}
    assert same
    assert not [name for name in same if not any(part in name for part in _NOT_TRAINED)]


def test_the_script_and_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$ASKED"\n')
    fake.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/",
        "PYTHON": str(fake),
        "ASKED": str(tmp_path / "asked"),
        "BATCH_SIZE": "2",
    }
    done = subprocess.run(
        ["bash", "3_train_idm.sh", "--half"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "asked").read_text().split("\n")[:-1]
    assert words[:3] == ["-m", "steve1", "train_idm"]
    asked = CommandLine(command.Args, "x").parse(words[3:])
    assert asked is not None
    assert (asked.batch_size, asked.half, asked.in_model, asked.total_frames) == (2, True, "", 400_000)
    write_idm_model(TINY, tmp_path / "tiny.model")
    args = dataclasses.replace(
        asked, sampling_dir=str(folder), out_weights=str(tmp_path / "w" / "a.weights"), in_model=str(tmp_path / "tiny.model"),
        total_frames=64, warmup_steps=1, checkpoint_dir=str(tmp_path / "runs"), device="cpu", val_freq=0, env="luanti", fov=72.0,
    )  # fmt: skip
    command.main(args)
    said = capsys.readouterr().out
    assert "not labelled well" in said
    assert "SOURCE=videos" in said
    files = IdmFiles.of(tmp_path / "w" / "a.model", tmp_path / "w" / "a.weights")
    assert files.fov == 72
    with pytest.raises(UserError, match="needs --in_model"):
        command.main(dataclasses.replace(args, in_model="", in_weights="x.weights"))
    before = (tmp_path / "w" / "a.weights").read_bytes()
    with pytest.raises(UserError, match="out_weights would replace in_weights"):
        command.main(dataclasses.replace(args, in_weights=args.out_weights, overwrite=True))
    assert (tmp_path / "w" / "a.weights").read_bytes() == before


def test_the_mini_sizes_fit_in_five_megabytes() -> None:
    with torch.device("meta"):
        model = InverseDynamicsModel(MINI)
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 5e6
    assert isinstance(model.config, IdmConfig)
