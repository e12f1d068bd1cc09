"""The inverse dynamics model against arrays of the reference code: every layer, windows of all lengths, whole videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import steve1
from steve1.core import tuning
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.tuning import Choice, Tuned
from steve1.idm import InverseDynamicsModel, load_idm, read_idm_model
from steve1.idm.label import label, window_plan
from steve1.policy import PolicyConfig, read_model, write_model

GOLDEN = Path(__file__).parents[1] / "golden"
IO = np.load(GOLDEN / "idm_tiny_io.npz")
META = json.loads((GOLDEN / "idm_tiny_meta.json").read_text())
TOLERANCE = 5e-4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idm") / "tiny.weights"
    with np.load(GOLDEN / "idm_tiny_state.npz") as state:
        torch.save({name: torch.from_numpy(state[name].astype(np.float32)) for name in state.files}, path)
    return path


@pytest.fixture(scope="module")
def idm(weights: Path) -> InverseDynamicsModel:
    return load_idm(GOLDEN / "idm_tiny.model", weights)


def windows() -> torch.Tensor:
    return torch.from_numpy(np.stack([IO["frames"][start : start + META["window"]] for start in IO["win_start"]]))


def close(ours: Any, name: str) -> None:
    np.testing.assert_allclose(np.asarray(ours), IO[name], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_every_layer(idm: InverseDynamicsModel) -> None:
    found = windows()
    black = torch.zeros_like(found[:, :2])
    padded = torch.cat([black, found, black], dim=1)
    conv = torch.stack([idm.net.conv3d_layer(window) for window in padded])
    frames = [0, 1, 2, found.shape[1] // 2, found.shape[1] - 2, found.shape[1] - 1]
    close(conv[:, frames][..., ::32, ::32].permute(0, 1, 3, 4, 2), "win_conv3d_some")
    cnn = idm.net.img_process.cnn
    close(torch.stack([cnn.dense(cnn.stacked(window).flatten(1)) for window in conv]), "win_dense")
    features = torch.stack([idm.features(window) for window in padded])
    close(features, "win_features")
    from steve1.idm.network import _WholeWindow

    x = features
    for number, block in enumerate(idm.net.recurrent_layer.layers):
        x = block(x, _WholeWindow())[0]
        close(x, f"win_block{number}")
    close(idm.net(features), "win_latent")


@torch.no_grad()
def test_windows_of_all_lengths(idm: InverseDynamicsModel) -> None:
    output = idm(windows())
    close(output.buttons, "win_buttons_logp")
    close(output.camera, "win_camera_logp")
    best = output.buttons.max(-1).values.sum(-1) + output.camera.max(-1).values.sum(-1)
    np.testing.assert_allclose(best, IO["win_logprob_of_argmax"], atol=20 * TOLERANCE)
    first, last = IO["short_range"]
    index = int(IO["one_index"])
    for name, part in (("short", slice(first, last)), ("one", slice(index, index + 1)), ("long", slice(None))):
        found = idm(torch.from_numpy(IO["frames"][part])[None])
        close(found.buttons, f"{name}_buttons_logp")
        close(found.camera, f"{name}_camera_logp")


def test_the_loss_and_every_gradient(weights: Path) -> None:
    idm = load_idm(GOLDEN / "idm_tiny.model", weights)
    output = idm(windows())
    buttons = torch.from_numpy(IO["target_buttons"].astype(np.int64))[..., None]
    camera = torch.from_numpy(IO["target_camera"].astype(np.int64))[..., None]
    nll = -(output.buttons.gather(-1, buttons).sum((-1, -2)) + output.camera.gather(-1, camera).sum((-1, -2)))
    np.testing.assert_allclose(nll.detach(), IO["win_nll"], atol=20 * TOLERANCE)
    nll.mean().backward()
    assert float(nll.mean().detach()) == pytest.approx(META["loss"], abs=1e-3)
    named = dict(idm.named_parameters())
    for name, expected in META["grad_norms"].items():
        gradient = named[name].grad
        if not expected:  # lastlayer and the relative term take no part
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient is not None, name
            assert float(gradient.norm()) == pytest.approx(expected, rel=0.03, abs=1e-4), name


@pytest.mark.parametrize("rule", ["aligned", "minestudio"])
@pytest.mark.parametrize("count", [40, 37, 20, 10])
def test_whole_videos(idm: InverseDynamicsModel, count: int, rule: Any) -> None:
    name = f"clip{count}_{rule}"
    assert [list(row) for row in window_plan(count, META["window"], META["stride"], rule)] == IO[
        f"{name}_plan"
    ].tolist()
    found = label(idm, IO["frames"][:count], stride=META["stride"], rule=rule)
    close(found.buttons, f"{name}_buttons_logp")
    close(found.camera, f"{name}_camera_logp")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17, 24, 31, 40])
@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("rule", ["aligned", "minestudio"])
def test_streaming_equals_window_by_window(idm: InverseDynamicsModel, count: int, stride: int, rule: Any) -> None:
    frames = IO["frames"][:count]
    found = label(idm, iter(frames), stride=stride, rule=rule)
    with torch.no_grad():
        for start, end, kept, kept_end in window_plan(count, META["window"], stride, rule):
            whole = idm(torch.from_numpy(frames[start:end])[None])
            np.testing.assert_allclose(
                found.buttons[kept:kept_end], whole.buttons[0, kept - start : kept_end - start], atol=TOLERANCE
            )
    assert len(found.buttons) == count


def test_each_frame_is_encoded_once(idm: InverseDynamicsModel) -> None:
    frames = np.concatenate([IO["frames"]] * 3)
    found = idm.label(iter(frames))
    plan = window_plan(120, 16, 8, "aligned")
    assert found.encoded <= 120 - 4 + 4 * len(plan)
    assert pytest.approx(1.06, abs=0.01) == 1 + 4 / 64, "at the published window of 128"


def test_frames_at_once_that_were_measured(idm: InverseDynamicsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels are those of the plain way; afterwards nothing is changed, and what was timed does not count as encoded."""
    frames, asked = IO["frames"], []

    def measured(about: object, choices: list[Choice], attempt: Callable[[Choice], float], total: int) -> Tuned:
        asked.append((attempt(Choice(5, 1)), total))
        return Tuned(Choice(5, 1), choices[0], 2.0, 1.0)

    monkeypatch.setattr(tuning, "tune", measured)
    threads, plain = torch.get_num_threads(), idm.frames_at_once
    wanted = idm.label(iter(frames))
    with idm.spread(len(frames)):
        assert (idm.frames_at_once, torch.get_num_threads()) == (5, 1)
        found = idm.label(iter(frames))
    assert asked == [(5.0, len(frames))]
    assert (idm.frames_at_once, torch.get_num_threads()) == (plain, threads)
    assert found.encoded == wanted.encoded
    np.testing.assert_allclose(found.buttons, wanted.buttons, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found.camera, wanted.camera, atol=1e-4, rtol=0)


def test_actions(idm: InverseDynamicsModel) -> None:
    small = np.repeat(np.repeat(IO["agent_frames_small"], 20, axis=1), 20, axis=2)
    frames = np.stack([agent_frame(frame) for frame in small])
    np.testing.assert_array_equal(frames, IO["agent_img"])
    found = idm.label(frames, stride=16)
    close(found.buttons[None], "agent_buttons_logp")
    np.testing.assert_array_equal(found.buttons.argmax(2), IO["agent_buttons"])
    np.testing.assert_allclose([action["camera"] for action in found.actions()], IO["agent_camera"], atol=1e-6)
    pressed, gave_way = found.pressed()
    assert gave_way > 0
    for one, other in (("forward", "back"), ("left", "right"), ("sneak", "sprint")):
        assert not any(action[one] and action[other] for action in found.actions())
    assert (pressed <= found.buttons.argmax(2).astype(bool)).all()
    assert {"ESC", "pickItem", "swapHands"} <= set(found.actions()[0])


def test_the_published_size() -> None:
    shapes = json.loads((GOLDEN / "state_dict_shapes_idm_4x.json").read_text())
    with torch.device("meta"):
        idm = InverseDynamicsModel(read_idm_model(GOLDEN / "idm_4x.model"))
    found = {name: list(tensor.shape) for name, tensor in idm.state_dict().items()}
    assert found == shapes["shapes"]
    assert len(found) == 100
    assert sum(parameter.numel() for parameter in idm.parameters()) == 482_330_046
    assert read_idm_model(GOLDEN / "idm_4x.model").temperature == 4


def test_files_of_the_other_kind_are_named(tmp_path: Path, weights: Path) -> None:
    write_model(PolicyConfig(), tmp_path / "policy.model")
    with pytest.raises(UserError, match="This is a policy"):
        load_idm(tmp_path / "policy.model")
    with pytest.raises(UserError, match="inverse dynamics model"):
        read_model(GOLDEN / "idm_tiny.model")
    torch.save({"net.img_process.linear.layer.weight": torch.zeros(4, 4)}, tmp_path / "policy.weights")
    with pytest.raises(UserError, match="a policy's weights"):
        load_idm(GOLDEN / "idm_tiny.model", tmp_path / "policy.weights")
    state = torch.load(weights, weights_only=True)
    for name in [name for name in state if name.endswith("b_nd")]:
        del state[name]
    torch.save(state, tmp_path / "dropped.weights")
    load_idm(GOLDEN / "idm_tiny.model", tmp_path / "dropped.weights")
    del state["net.final_ln.weight"]
    torch.save(state, tmp_path / "short.weights")
    with pytest.raises(UserError, match=r"net\.final_ln\.weight is missing"):
        load_idm(GOLDEN / "idm_tiny.model", tmp_path / "short.weights")


def test_bad_input(idm: InverseDynamicsModel) -> None:
    with pytest.raises(UserError, match="no frame"):
        idm.label([])
    with pytest.raises(UserError, match="does not fit the model") as found:
        idm.label([IO["frames"][0], IO["frames"][1][:64]])
    assert "frame 1" in str(found.value)
    with pytest.raises(UserError, match="stride"):
        idm.label(IO["frames"][:3], stride=7)
    assert steve1.load_idm is load_idm
