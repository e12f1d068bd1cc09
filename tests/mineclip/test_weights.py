"""Weight files: strict reading with a report, our own format, hostile files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from steve1.core.errors import UserError
from steve1.mineclip.config import read_config
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import fill, load_mineclip, published_name, save_mineclip


def tensors_of(model: MineCLIP) -> dict[str, torch.Tensor]:
    """A model's tensors under their published names."""
    return {published_name(name): value.clone() for name, value in model.named_parameters()}


def test_own_file_needs_no_configuration(small: MineCLIP, tmp_path: Path) -> None:
    path = tmp_path / "a.b" / "mini.safetensors"
    save_mineclip(small, path, notes={"made_by": "a test"})
    again = load_mineclip(path)
    assert again.config == small.config
    for ours, theirs in zip(again.parameters(), small.parameters()):
        assert torch.equal(ours, theirs)
    assert [entry.name for entry in path.parent.iterdir()] == ["mini.safetensors"]


def test_half_precision_halves_the_file(small: MineCLIP, tmp_path: Path) -> None:
    save_mineclip(small, tmp_path / "full.safetensors")
    save_mineclip(small, tmp_path / "half.safetensors", half=True)
    full, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.55 * full
    text = ["dig a hole"]
    difference = load_mineclip(tmp_path / "half.safetensors").encode_text(text) - small.encode_text(text)
    assert float(difference.abs().max()) < 0.02


def test_what_does_not_fit_is_reported_in_one_message(small: MineCLIP) -> None:
    tensors = tensors_of(small)
    del tensors["clip_model.logit_scale"]
    tensors["clip_model.vision_model.surplus"] = torch.zeros(1)
    tensors["clip_model.vision_model.cls_token"] = torch.zeros(7)
    with pytest.raises(UserError) as caught:
        fill(small, tensors, where="x.pth")
    text = str(caught.value)
    for part in ("logit_scale is missing", "surplus is unknown", "cls_token has shape (7,), expected (64,)", "x.pth"):
        assert part in text


def test_contradicting_aliases_are_refused(small: MineCLIP) -> None:
    tensors = tensors_of(small)
    tensors["image_encoder.cls_token"] = tensors["clip_model.vision_model.cls_token"] + 1
    with pytest.raises(UserError, match="not the MineCLIP weights"):
        fill(small, tensors)


class Hostile:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": Hostile(tmp_path / "ran")}}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match="cannot be read"):
        load_mineclip(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        (".pth", b"", "is empty"),
        (".pth", b"not weights", "cannot be read"),
        (".pth", b"PK\x03\x04torn", "cannot be read"),
        (".safetensors", b"", "is empty"),
        (".safetensors", b"not weights", "cannot be read"),
        (".safetensors", b"PK\x03\x04torn", "is a zip archive, but its name ends in .safetensors"),
    ],
)
def test_torn_files_are_named(tmp_path: Path, suffix: str, content: bytes, said: str) -> None:
    path = tmp_path / f"torn{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        load_mineclip(path)
    assert "torn" in str(caught.value)


def test_missing_weights_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_mineclip(tmp_path / "data/weights/mineclip/attn.pth")
    assert "0_download_weights.sh" in str(caught.value)


def test_configuration_faults_come_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"embed_dim": 0, "ressolution": [1, 2], "patch": "16"}))
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert all(part in str(caught.value) for part in ("embed_dim", "ressolution", "patch", "c.json"))
    with pytest.raises(UserError, match="not usable"):
        read_config({"resolution": [100, 256]})
    with pytest.raises(UserError, match="no such"):
        read_config("attnn")
    path.write_text(json.dumps({"embed_dim": 128, "resolution": [80, 128]}))
    assert read_config(str(path)).embed_dim == 128
