"""Cards as they are: what is refused with its reason, what is taken in place of it, and that nobody falls to the CPU without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from steve1.core import device as module
from steve1.core.cuda_builds import advice, fitting, gpu_of_the_system
from steve1.core.device import choose_device, choose_precision, has_bf16, set_tf32, warn_of_unused_gpu
from steve1.core.errors import UserError
from steve1.training.distributed import local_device

CARD = torch.device("cuda:0")


class FakeCuda:
    """torch.cuda of a machine with one card."""

    def __init__(self, capability: tuple[int, int], name: str = "Test Card") -> None:
        self.capability, self.name = capability, name

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        class On:
            def __init__(self, device: torch.device) -> None:
                asked.append(device)

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None: ...

        def supported(including_emulation: bool = True) -> bool:
            assert asked, "the current card is asked, not this one"
            return including_emulation or self.capability[0] >= 8

        for name, value in {
            "device": On,
            "is_available": lambda: True,
            "is_bf16_supported": supported,
            "get_device_capability": lambda *_: self.capability,
            "get_device_name": lambda *_: self.name,
            "get_arch_list": lambda: ["sm_75", "sm_80", "sm_90"],
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


def test_a_card_that_emulates_bf16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda((7, 5), "Tesla T4").put(monkeypatch)
    assert not has_bf16(CARD)
    assert choose_precision("auto", CARD) == choose_precision("auto", CARD, bf16_on_cpu=False) == torch.float32
    with pytest.raises(UserError, match="no bf16") as told:
        choose_precision("bf16", CARD)
    assert "Tesla T4, compute capability 7.5" in str(told.value)
    assert "fp16 is not offered" in str(told.value)


def test_a_card_with_bf16_trains_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda((8, 6)).put(monkeypatch)
    assert choose_precision("auto", CARD) == choose_precision("bf16", CARD) == torch.bfloat16
    assert choose_precision("auto", CARD, bf16_on_cpu=False) == torch.bfloat16
    assert choose_precision("auto", torch.device("cpu"), bf16_on_cpu=False) == torch.float32
    assert choose_precision("tf32", CARD) == choose_precision("fp32", CARD) == torch.float32


def test_a_card_that_the_build_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda((7, 0), "Tesla V100").put(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def no_kernel(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch, "ones", no_kernel)
    for name in ("auto", "cuda"):
        with pytest.raises(UserError, match="no kernels for this GPU") as told:
            choose_device(name)
    said = str(told.value)
    assert "Tesla V100, compute capability 7.0" in said
    assert "sm_75, sm_80, sm_90" in said
    assert "whl/cu126" in said
    assert "--device cpu" in said


@pytest.mark.parametrize(
    ("driver", "capability", "build"),
    [
        ("580.65.06", (9, 0), "cu130"),
        ("595.10", (12, 0), "cu130"),
        ("550.54.15", (8, 6), "cu126"),  # too old for CUDA 13
        ("580.65.06", (7, 0), "cu126"),  # V100: CUDA 13 has no kernels for it
        ("570.1", (6, 1), "cu126"),  # GTX 10xx
        ("535.2", (7, 5), "cu126"),
        ("", (8, 0), "cu130"),  # unknown
        ("570.1", (0, 0), "cu126"),
    ],
)
def test_the_build_that_fits_a_card_and_its_driver(driver: str, capability: tuple[int, int], build: str) -> None:
    found = fitting(driver, capability)
    assert found is not None
    assert found.name == build
    assert f"torch==2.13.0 --index-url https://download.pytorch.org/whl/{build}" in advice(driver, capability, "2.13.0")


def test_drivers_and_cards_that_no_build_fits() -> None:
    assert fitting("470.1", (8, 6)) is None
    assert "driver 525 or newer (here: 470.1)" in advice("470.1", (8, 6), "2.13.0")
    assert "driver 580 or newer" in advice("570.1", (12, 0), "2.13.0")  # Blackwell
    assert "no build of PyTorch has kernels" in advice("470.1", (3, 5), "2.13.0")


def test_a_gpu_that_is_not_used_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_of_the_system(tmp_path) == ""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    assert gpu_of_the_system(tmp_path) == "NVIDIA"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu_of_the_system(tmp_path) == "", "hidden on purpose"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    other = tmp_path / "amd"
    for number, name in enumerate(("0", "51234")):
        node = other / "sys/class/kfd/kfd/topology/nodes" / str(number)
        node.mkdir(parents=True)
        (node / "gpu_id").write_text(f"{name}\n")
    assert gpu_of_the_system(other) == "AMD"

    monkeypatch.setattr(module, "gpu_of_the_system", lambda: "NVIDIA")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    warn_of_unused_gpu.cache_clear()
    assert choose_device("auto") == local_device("auto") == torch.device("cpu")
    said = capsys.readouterr().err
    assert said.count("NVIDIA GPU") == 1
    assert "python -m steve1 doctor" in said
    warn_of_unused_gpu.cache_clear()
    choose_device("cpu")
    assert capsys.readouterr().err == ""
    warn_of_unused_gpu.cache_clear()


def test_tf32_is_on_only_where_it_is_asked_for() -> None:
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    try:
        set_tf32(True)
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
        set_tf32(False)
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    finally:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before  # type: ignore[attr-defined]
