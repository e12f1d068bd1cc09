"""Weights: published key names and prefixes, strict matching, round trips, nothing executed."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, load_policy, read_weights, save_weights
from steve1.policy.weights import GOAL_KEYS

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state(tiny_weights: Path) -> State:
    return torch.load(tiny_weights, weights_only=True)


def same(policy: GoalPolicy, state: State) -> bool:
    ours = policy.state_dict()
    return set(ours) == set(state) and all(torch.equal(ours[key], state[key]) for key in state)


def test_full_2x_has_the_published_keys_and_size(golden: Path) -> None:
    shapes = json.loads((golden / "state_dict_shapes_2x.json").read_text())
    with torch.device("meta"):
        policy = GoalPolicy(load_2x())
    ours = {key: list(value.shape) for key, value in policy.state_dict().items()}
    assert len(ours) == 136
    assert ours == shapes
    assert sum(parameter.numel() for parameter in policy.parameters()) == 249_545_918


def load_2x() -> Any:
    from steve1.policy import read_model

    net = {
        "attention_heads": 16, "attention_mask_style": "clipped_causal", "attention_memory_size": 256, "timesteps": 128,
        "hidsize": 2048, "n_recurrence_layers": 4, "recurrence_type": "transformer", "recurrence_is_residual": True,
        "img_shape": [128, 128, 3], "impala_width": 8, "impala_chans": [16, 32, 32], "impala_kwargs": {"post_pool_groups": 1},
        "init_norm_kwargs": {"batch_norm": False, "group_norm_groups": 1}, "pointwise_ratio": 4, "use_pointwise_layer": True,
        "pointwise_use_activation": False, "use_pre_lstm_ln": False, "only_img_input": True, "diff_mlp_embedding": False,
    }  # fmt: skip
    return read_model({"model": {"args": {"net": {"args": net}, "pi_head_opts": {"temperature": "2.0"}}}})


def test_tiny_keys_are_the_published_ones(golden: Path, tiny: GoalPolicy) -> None:
    shapes = json.loads((golden / "state_dict_shapes_tiny.json").read_text())
    assert {key: list(value.shape) for key, value in tiny.state_dict().items()} == shapes


@pytest.mark.parametrize("suffix", [".weights", ".safetensors"])
def test_round_trip_is_exact(tiny: GoalPolicy, tiny_model: Any, state: State, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    save_weights(tiny, path)
    raw = load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True)
    assert {key: tuple(value.shape) for key, value in raw.items()} == {k: tuple(v.shape) for k, v in state.items()}
    assert all(key.startswith(("net.", "pi_head.", "value_head.")) for key in raw)
    assert same(load_policy(tiny_model, path), state)


@pytest.mark.parametrize("prefix", ["", "module.policy.", "policy.", "module."])
@pytest.mark.parametrize("suffix", [".weights", ".safetensors"])
def test_published_prefixes(tiny_model: Any, state: State, tmp_path: Path, prefix: str, suffix: str) -> None:
    path = tmp_path / f"published{suffix}"
    renamed = {prefix + key: value for key, value in state.items()}
    if suffix == ".safetensors":
        save_file(renamed, path)
    else:
        torch.save(renamed, path)
    assert same(load_policy(tiny_model, path), state)


def test_half_precision_files_load_as_float32(tiny: GoalPolicy, tiny_model: Any, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(tiny, path, dtype=torch.float16)
    loaded = load_policy(tiny_model, path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    weight = tiny.net.final_ln.weight
    assert torch.equal(loaded.net.final_ln.weight, weight.half().float())


def saved(state: State, tmp_path: Path) -> Path:
    path = tmp_path / "edited.weights"
    torch.save(state, path)
    return path


def test_every_fault_is_listed(tiny_model: Any, state: State, tmp_path: Path) -> None:
    edited = dict(state)
    del edited["net.final_ln.bias"]
    edited["net.extra.weight"] = torch.zeros(2)
    edited["pi_head.camera.linear_layer.bias"] = torch.zeros(7)
    with pytest.raises(UserError) as caught:
        load_policy(tiny_model, saved(edited, tmp_path))
    text = str(caught.value)
    for word in (
        "net.final_ln.bias is missing",
        "net.extra.weight is unknown",
        "pi_head.camera.linear_layer.bias has shape (7,)",
    ):
        assert word in text


def test_vpt_weights_only_when_said(tiny_model: Any, state: State, tmp_path: Path) -> None:
    vpt = saved({key: value for key, value in state.items() if key not in GOAL_KEYS}, tmp_path)
    with pytest.raises(UserError, match=r"mineclip_embed_linear\.weight") as caught:
        load_policy(tiny_model, vpt)
    assert "from_vpt" in str(caught.value)
    policy = load_policy(tiny_model, vpt, from_vpt=True)
    assert not policy.net.mineclip_embed_linear.weight.any()
    assert not policy.net.mineclip_embed_linear.bias.any()
    assert torch.equal(policy.net.final_ln.weight, state["net.final_ln.weight"])


def test_from_vpt_excuses_nothing_else(tiny_model: Any, state: State, tmp_path: Path) -> None:
    one_lost = {key: value for key, value in state.items() if key != GOAL_KEYS[1]}
    with pytest.raises(UserError, match=r"mineclip_embed_linear\.bias"):
        load_policy(tiny_model, saved(one_lost, tmp_path), from_vpt=True)
    other_lost = {key: value for key, value in state.items() if key not in (*GOAL_KEYS, "net.lastlayer.layer.weight")}
    with pytest.raises(UserError, match=r"net\.lastlayer\.layer\.weight"):
        load_policy(tiny_model, saved(other_lost, tmp_path), from_vpt=True)
    # weights that have the goal's layer keep it
    kept = load_policy(tiny_model, saved(state, tmp_path), from_vpt=True)
    assert torch.equal(kept.net.mineclip_embed_linear.weight, state[GOAL_KEYS[0]])


def test_goal_size_is_read_from_the_weights(tiny_model: Any, state: State, tmp_path: Path) -> None:
    small = state | {GOAL_KEYS[0]: torch.randn(64, 96)}
    assert load_policy(tiny_model, saved(small, tmp_path)).config.mineclip_embed_dim == 96


def test_one_key_under_two_prefixes(tiny_model: Any, state: State, tmp_path: Path) -> None:
    twice = state | {"policy.net.final_ln.bias": torch.zeros(64)}
    with pytest.raises(UserError, match="twice"):
        load_policy(tiny_model, saved(twice, tmp_path))


def test_missing_and_damaged_files(tiny_model: Any, tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_policy(tiny_model, tmp_path / "none.weights")
    for suffix in (".weights", ".safetensors"):
        torn = tmp_path / f"torn{suffix}"
        torn.write_bytes(tiny_weights.read_bytes()[:5000])
        with pytest.raises(UserError, match=r"cannot be read|ends in \.safetensors"):
            load_policy(tiny_model, torn)
    for content in ({}, {"a": 1}, [torch.zeros(1)], torch.zeros(1)):
        path = tmp_path / "odd.weights"
        torch.save(content, path)
        with pytest.raises(UserError, match="not a state dict"):
            load_policy(tiny_model, path)


def test_a_failed_write_leaves_the_old_file(tiny: GoalPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.weights"
    save_weights(tiny, path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(tiny, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.weights"]


class _Reduces:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class _Sets:
    """An object that acts when its state is restored."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["marker"]).touch()


def payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that create `marker` when anything in them runs."""
    import builtins
    import functools
    import operator
    import os
    import runpy
    import subprocess

    touch = f"open({str(marker)!r}, 'w').close()"
    objects: dict[str, Any] = {
        "os.system": _Reduces(os.system, f"touch {marker}"),
        "eval": _Reduces(builtins.eval, f"__import__('pathlib').Path({str(marker)!r}).touch()"),
        "exec": _Reduces(builtins.exec, touch),
        "subprocess": _Reduces(subprocess.call, ["touch", str(marker)]),
        "open": _Reduces(builtins.open, str(marker), "w"),
        "partial": _Reduces(functools.partial(os.system, f"touch {marker}")),
        "methodcaller": _Reduces(operator.methodcaller("touch"), marker),
        "nested": {"model": {"args": [_Reduces(os.system, f"touch {marker}")]}},
        "path": _Reduces(Path.touch, marker),
        "setstate": _Sets(marker),
        "runpy": _Reduces(runpy.run_path, str(marker)),
        "numpy.load": _Reduces(np.load, str(marker), None, True),
        "torch.load": _Reduces(torch.load, str(marker)),
        "array of objects": np.array([_Reduces(os.system, f"touch {marker}")], dtype=object),
        "getattr": _Reduces(builtins.getattr, marker, "touch"),
    }
    made = {}
    for name, value in objects.items():
        try:
            made[name] = pickle.dumps(value, protocol=2)
        except Exception:  # pragma: no cover - an object this Python cannot pickle is no threat either
            continue
    made["build with global"] = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    made["dotted name"] = b"\x80\x04\x8c\x08builtins\x94\x8c\x0a__import__\x94\x93\x8c\x02os\x85R."
    made["instance"] = b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n."
    made["persistent id"] = b"\x80\x02X\x01\x00\x00\x00aQ."
    return made


def test_hostile_model_files_run_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hostile = payloads(marker)
    assert len(hostile) >= 15
    for name, data in hostile.items():
        path = tmp_path / "hostile.model"
        path.write_bytes(data)
        with pytest.raises(UserError):
            load_policy(path)
        assert not marker.exists(), name


@pytest.mark.parametrize("container", ["plain", "zip"])
def test_hostile_weights_run_nothing(tiny_model: Any, tmp_path: Path, container: str) -> None:
    import zipfile

    marker = tmp_path / "ran"
    for name, data in payloads(marker).items():
        path = tmp_path / "hostile.weights"
        if container == "plain":
            path.write_bytes(data)
        else:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("archive/data.pkl", data)
                archive.writestr("archive/version", "3\n")
            path.write_bytes(buffer.getvalue())
        with pytest.raises(UserError):
            load_policy(tiny_model, path)
        assert not marker.exists(), name


def test_payloads_would_run_under_a_plain_unpickler(tmp_path: Path) -> None:
    """The payloads are real: without protection at least ten of them create the file."""
    ran = 0
    for number, name in enumerate(payloads(tmp_path / "x")):
        marker = tmp_path / f"ran{number}"
        with contextlib.suppress(Exception):
            pickle.loads(payloads(marker)[name])
        ran += marker.exists()
    assert ran >= 10


def test_read_weights_strips_prefixes(state: State, tmp_path: Path) -> None:
    path = saved({"module.policy." + key: value for key, value in state.items()}, tmp_path)
    assert set(read_weights(path)) == set(state)
