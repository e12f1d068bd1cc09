"""Two pretended CUDA devices: the code that trains and acts runs on fake tensors of full size, in seconds and without a card.

`library()` compiles pretend.cpp against the installed PyTorch, `run_cases` starts a Python with it. In there `pretended()` turns tensors
into fake ones, which have sizes, types and a device and no numbers. An operation on tensors of two devices fails, so does reading a
number; `Live` counts the bytes of all tensors that are alive. No kernel runs: neither speed nor rounding can be seen here.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from steve1.policy import GoalPolicy, PolicyConfig
from steve1.training.config import TrainSettings
from steve1.training.trainable import apply_mode

SOURCE = Path(__file__).with_name("pretend.cpp")
ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
CARD, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
NUMPY_TYPES = {np.dtype(name): getattr(torch, name) for name in ("uint8", "int64", "float32", "float64")}
COPIES = ("aten._to_copy.", "aten.copy_.", "aten.to.")
"""Operations that may copy between devices; under inference mode `to` is not taken apart into copies before it is seen."""


@functools.cache
def library() -> tuple[Path | None, str]:
    """The compiled device, and why there is none; kept for the next run of the tests."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if sys.platform != "linux" or compiler is None:
        return None, "no C++ compiler" if sys.platform == "linux" else "made for Linux"
    if torch.version.cuda or torch.version.hip:
        return None, "this PyTorch has CUDA of its own"
    home = Path(torch.__file__).parent
    made_from = hashlib.sha256(f"{SOURCE.read_text()} {torch.__version__} {home} {compiler}".encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "steve1"
    target = folder / f"pretended_cuda-{made_from}.so"
    if target.is_file():
        return target, ""
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    command = [
        compiler, "-O0", "-std=c++20", "-shared", "-fPIC", f"-I{home / 'include'}", str(SOURCE), "-o", str(part),
        f"-L{home / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{home / 'lib'}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, f"it does not compile against this PyTorch: {done.stderr.strip().splitlines()[-1:]}"
    part.replace(target)
    return target, ""


def run_cases(module: str, *names: str, within: float = 300) -> dict[str, Any]:
    """What `module` found, started with the pretended device: {case: its figures, or {"fault": …}}."""
    preload, why = library()
    assert preload is not None, why
    environment = {**os.environ, "LD_PRELOAD": str(preload), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=within,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Fakes(FakeTensorMode):
    """Fake tensors without torch.compile's guard around each operation: nothing is compiled here."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    __torch_dispatch__ = inspect.unwrap(FakeTensorMode.__torch_dispatch__)


class Live(TorchDispatchMode):
    """Bytes of the tensors on the pretended devices that are alive, and copies from there to the host.

    Attributes:
        now, peak: bytes.
        reads: "operation at file:line" of copies to the host → how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.reads: collections.Counter[str] = collections.Counter()
        self._sizes: dict[int, int] = {}
        self._alive: dict[int, weakref.ref[Any]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here; torch would wrap each operation

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)
        self._alive.pop(key, None)

    def track(self, tensor: Any) -> None:
        """Count a tensor that was made outside."""
        # A fake tensor's own attribute: asking for its device would be an operation of its own, seen by both modes.
        if not isinstance(tensor, FakeTensor) or tensor.fake_device.type != "cuda":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        self._alive[key] = weakref.ref(storage, lambda _: self._gone(key))

    def start(self) -> None:
        """The peak and the copies to the host count from here on."""
        self.peak = self.now
        self.reads.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].fake_device if isinstance(args[0], FakeTensor) else func(*args)
        out = func(*args, **(kwargs or {}))
        for tensor in (out,) if isinstance(out, torch.Tensor) else tree_leaves(out):
            self.track(tensor)
        if (name := _copying(func)) is not None:
            to, source = (args[0], args[1]) if name.startswith("aten.copy_") else (out, args[0])
            if to.device.type == "cpu" and source.device.type == "cuda":
                self.reads[f"{name} at {_place()}"] += 1
        return out


@functools.cache
def _copying(func: Any) -> str | None:
    """The name of an operation that may copy between devices; None for all others."""
    name = str(func)
    return name if name.startswith(COPIES) else None


def _place() -> str:
    """The innermost line of ours on the stack."""
    frame = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT / 'steve1'}{os.sep}"):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


@contextlib.contextmanager
def pretended() -> Iterator[Live]:
    """Fake tensors on the pretended devices in the body; with the answers that a card of compute capability 8.0 gives."""
    import torch.cuda.amp.common

    plain = torch._C._conv_determine_backend_memory_format
    cuda: Any = torch.cuda
    before = cuda.amp.common.amp_definitely_not_available, cuda.is_bf16_supported
    cuda.amp.common.amp_definitely_not_available = lambda: False
    cuda.is_bf16_supported = lambda including_emulation=True: True
    # cuDNN keeps channels last; a CPU build's choice would not
    torch._C._conv_determine_backend_memory_format = lambda *_: torch.channels_last  # type: ignore[assignment]
    live = Live()
    try:
        with _Fakes(allow_non_fake_inputs=True), live:
            yield live
    finally:
        cuda.amp.common.amp_definitely_not_available, cuda.is_bf16_supported = before
        torch._C._conv_determine_backend_memory_format = plain


@contextlib.contextmanager
def unknown_arrays() -> Iterator[None]:
    """Arrays of the host become fake tensors too, and those on the host arrays of zeros; torch would keep their numbers and want to move these to the card."""

    def made(array: Any, device: torch.device | None = None) -> torch.Tensor:
        return torch.zeros(np.shape(array), dtype=NUMPY_TYPES[np.asarray(array).dtype], device=device)

    def zeros(tensor: torch.Tensor) -> Any:
        assert tensor.device.type == "cpu", "the numbers of a tensor on the card"
        return np.zeros(tensor.shape, np.float32)

    before = torch.from_numpy, torch.tensor, torch.Tensor.numpy
    torch.from_numpy = torch.tensor = made  # type: ignore[assignment]
    torch.Tensor.numpy = zeros  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.from_numpy, torch.tensor, torch.Tensor.numpy = before  # type: ignore[method-assign]


def with_moments(optimizer: torch.optim.Optimizer) -> None:
    """The optimizer as after a first step, for a fraction of its time."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def trained_policy(card: torch.device, config: PolicyConfig, settings: TrainSettings, live: Live) -> GoalPolicy:
    """A policy on the card in its fine-tuning mode; its tensors are counted."""
    with card:
        policy = GoalPolicy(config)
        goal = torch.zeros(config.mineclip_embed_dim)
    policy = policy.to_channels_last()
    for parameter in policy.parameters():
        live.track(parameter)
    apply_mode(policy, settings, goal)
    return policy
