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

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SOURCE = Path(__file__).with_name("pretend.cpp")
ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
COPIES = ("aten._to_copy.default", "aten.copy_.default")


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

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def track(self, tensor: Any) -> None:
        """Count a tensor that was made outside."""
        if not isinstance(tensor, torch.Tensor) or tensor.device.type != "cuda":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def start(self) -> None:
        """The peak and the copies to the host count from here on."""
        self.peak = self.now
        self.reads.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            self.track(tensor)
        name = str(func)
        if name in COPIES:
            to, source = (args[0], args[1]) if name.startswith("aten.copy_") else (out, args[0])
            if to.device.type == "cpu" and source.device.type == "cuda":
                self.reads[f"{name} at {_place()}"] += 1
        return out


def _place() -> str:
    """The innermost line of ours on the stack."""
    frame = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if f"{os.sep}steve1{os.sep}" in file:
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
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            yield live
    finally:
        cuda.amp.common.amp_definitely_not_available, cuda.is_bf16_supported = before
        torch._C._conv_determine_backend_memory_format = plain
