"""Model settings: reading, writing, refusing other architectures."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.policy import PolicyConfig, read_model, write_model


def net(model: dict[str, Any]) -> dict[str, Any]:
    args: dict[str, Any] = model["model"]["args"]["net"]["args"]
    return args


def test_published_defaults() -> None:
    config = PolicyConfig()
    assert config.memory == 128
    assert config.channels == (128, 256, 256)
    assert config.stack_shapes[-1] == (256, 16, 16)
    assert config.mineclip_embed_dim == 512


def test_pickle_json_and_dict_agree(tiny_model: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(tiny_model))
    write_model(tiny_model, tmp_path / "tiny.model")
    from_dict = read_model(tiny_model)
    assert read_model(tmp_path / "tiny.json") == from_dict
    assert read_model(tmp_path / "tiny.model") == from_dict
    with open(tmp_path / "tiny.model", "rb") as file:
        assert pickle.load(file) == tiny_model


def test_round_trip_of_settings(tmp_path: Path) -> None:
    config = PolicyConfig(
        hidsize=192, attention_heads=4, attention_memory_size=64, timesteps=16, n_recurrence_layers=2, impala_width=1,
        impala_chans=(8, 16, 16), mineclip_embed_dim=96,
    )  # fmt: skip
    write_model(config, tmp_path / "mini.model")
    assert read_model(tmp_path / "mini.model") == config
    assert "mineclip_embed_dim" not in net(PolicyConfig().to_model())  # published readers do not know the word


def test_numpy_numbers_and_a_temperature_in_words(tiny_model: dict[str, Any], tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model)
    net(model)["hidsize"] = np.int64(64)
    model["model"]["args"]["pi_head_opts"]["temperature"] = "2.0"
    (tmp_path / "odd.model").write_bytes(pickle.dumps(model))
    assert read_model(tmp_path / "odd.model") == read_model(tiny_model)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recurrence_type": "lstm", "use_pre_lstm_ln": True}, ["recurrence_type = 'lstm'", "use_pre_lstm_ln = True"]),
        ({"hidsize": None}, ["hidsize is missing"]),
        ({"hidsize": 65}, ["multiple of attention_heads"]),
        ({"timesteps": 32}, ["does not exceed timesteps"]),
        ({"hidsize": "wide"}, ["wrong type"]),
        ({"impala_chans": [16, 32]}, ["three positive"]),
        ({"img_shape": [128, 128]}, ["img_shape (128, 128) is not"]),
        ({"n_recurrence_layers": 0}, ["n_recurrence_layers = 0"]),
    ],
)
def test_other_architectures_are_refused(tiny_model: dict[str, Any], changes: dict[str, Any], words: list[str]) -> None:
    model = copy.deepcopy(tiny_model)
    for name, value in changes.items():
        if value is None:
            del net(model)[name]
        else:
            net(model)[name] = value
    with pytest.raises(UserError) as caught:
        read_model(model)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"model": 3}, [1, 2], {"model": {"args": {"net": {"args": []}}}}])
def test_other_files_are_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.model"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"not a policy's model file"):
        read_model(path)
    with pytest.raises(UserError, match="does not exist"):
        read_model(tmp_path / "none.model")
