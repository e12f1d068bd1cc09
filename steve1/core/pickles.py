"""The readers for pickles and weights files that other programs wrote; nothing in them is executed.

Input: files of unknown origin (published `.model` files, STEVE-1's `embeds_attn.pkl` and `actions.pkl`, torch files, safetensors).
Output: plain containers, numbers, strings, numpy arrays and tensors; anything else is refused.

Numpy's own constructors are not called either: a pickle can hand them forged dtypes (object pointers in raw bytes). Arrays are
rebuilt here from their bytes and a dtype text that must name plain numbers or fixed-length strings.
"""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_REFUSED = "This pickle was refused: only plain containers, numbers, strings and numpy arrays are read."
_PLAIN_KINDS = "biufcSU"
_SHOWN = 12  # faults listed in a message before "and N more"
_NUMBERS = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_"


class _Dtype:
    """Stands where numpy.dtype stood; `__setstate__` brings the byte order."""

    def __init__(self, text: Any, *_: Any) -> None:
        if not (text is None or isinstance(text, str) or (isinstance(text, type) and issubclass(text, np.generic))):
            raise pickle.UnpicklingError(f"it has an array of dtype {text!r}")
        self.dtype = np.dtype(text)
        if self.dtype.kind not in _PLAIN_KINDS or self.dtype.fields or self.dtype.subdtype:
            raise pickle.UnpicklingError(f"it has an array of dtype {text!r}")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("it has an array with a structured dtype")
        if state[1] in (">", "<", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


def _from_bytes(data: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("it has an array without plain bytes")
    return np.frombuffer(bytes(data), dtype=dtype.dtype).reshape(tuple(int(n) for n in shape), order=order).copy()  # type: ignore[call-overload,no-any-return]


class _Array:
    """Stands where an ndarray stood until `_plain` puts the real one in its place."""

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it has a damaged array")
        _, shape, dtype, fortran, data = state
        self.value = _from_bytes(data, dtype, shape, "F" if fortran else "C")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _from_bytes(data, dtype, (1,))[0]


def _latin1_encode(text: str, encoding: str = "latin1") -> bytes:
    # Protocol 2 spells bytes as _codecs.encode(text, "latin1"); no other codec is needed, so no other is let in.
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"_codecs.encode with encoding {encoding!r}")
    return str(text).encode("latin1")


def _no_bytes() -> bytes:
    # Protocols 0 to 2 spell b"" as bytes(); bytes(n) could ask for any amount of memory, so it takes no argument here.
    return b""


class _NdarrayMarker:
    """Pickles name numpy.ndarray only as an argument of `_reconstruct`; calling it is refused."""

    def __init__(self, *_: Any) -> None:
        raise pickle.UnpicklingError("it calls numpy.ndarray itself")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytes"): _no_bytes,
    ("_codecs", "encode"): _latin1_encode,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _NdarrayMarker,
    **{("numpy", name): getattr(np, name) for name in _NUMBERS.split()},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_bytes for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        if (module, name) in _ALLOWED:
            return _ALLOWED[(module, name)]
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it has persistent ids")

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"it uses extension code {code}")


def _plain(value: Any, depth: int = 0) -> Any:
    """Replace array stand-ins inside (nested) containers by the arrays."""
    if depth > 100:
        raise pickle.UnpicklingError("it is nested more than 100 deep")
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("it has a damaged array")
        return value.value
    if isinstance(value, _Dtype):
        return value.dtype
    if isinstance(value, dict):
        return type(value)((_plain(key, depth + 1), _plain(item, depth + 1)) for key, item in value.items())
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        return type(value)(_plain(item, depth + 1) for item in value)
    if isinstance(value, type) or callable(value):
        raise pickle.UnpicklingError(f"it holds {value!r}")
    return value


def load_restricted(source: str | os.PathLike[str] | bytes, *, max_bytes: int = 4 << 30) -> Any:
    """Read a pickle that may hold only containers, numbers, strings, bytes and numpy arrays.

    Args:
        source: a path, or the bytes themselves.
        max_bytes: larger inputs are refused.

    Raises:
        UserError: the pickle names any class or function outside that list (nothing of it is executed),
            is damaged, or is too large.
    """
    where = "bytes in memory" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _read(Path(source), max_bytes)
        return _plain(_Restricted(io.BytesIO(data)).load())
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("This file does not exist.", where=where) from None
    except MemoryError:
        raise UserError(
            "This pickle asks for more memory than there is; it is damaged or hostile.", where=where
        ) from None
    except Exception as fault:
        raise UserError(
            _REFUSED,
            where=where,
            got=f"{fault}" or type(fault).__name__,
            todo="take the file from its publisher again, or convert it with the program that made it",
        ) from None


def _read(path: Path, max_bytes: int) -> bytes:
    refuse_placeholder(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise UserError(
            "This pickle is larger than any we read.",
            where=path,
            expected=f"at most {max_bytes:,} bytes",
            got=f"{size:,}",
        )
    return path.read_bytes()


def refuse_placeholder(path: Path) -> None:
    """Refuse what often lies in a large file's place: a Git LFS pointer, or a web page.

    Raises:
        UserError: says which of them it is, and how to get the file itself.
    """
    with open(path, "rb") as file:
        head = file.read(256).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise UserError("This is a Git LFS pointer, not the file itself.", where=path, todo="git lfs pull")
    if head.startswith((b"<!doctype html", b"<html")):
        raise UserError(
            "A web page was saved in place of this file (a login or a quota, usually).",
            where=path,
            todo="remove it and download the file again: bash 0_download_weights.sh",
        )


def read_tensors(path: Path, what: str, todo: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by key, and the metadata, of a `.safetensors` or a torch file (a state dict, also inside "state_dict" or "model").

    Args:
        path: the file.
        what: names its kind in messages ("MineCLIP weights").
        todo: what to do where it is missing.

    Raises:
        UserError: the file is missing, damaged, or holds other objects than tensors.
    """
    import torch  # takes seconds, which conversion and `--help` need not wait for
    from safetensors import safe_open

    if not path.is_file():
        raise UserError(f"The file of {what} does not exist.", where=path, todo=todo)
    refuse_placeholder(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch, zipfile and pickle each raise their own kinds for a damaged or hostile file
        raise UserError(
            f"The file of {what} cannot be read.",
            where=path,
            expected="a torch state dict of tensors only, or safetensors",
            got=(str(fault).strip().splitlines() or [type(fault).__name__])[0],
            todo="download the file again; if it holds anything but tensors, do not trust it",
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    odd = [type(content).__name__]
    if isinstance(content, dict):
        odd = [
            f"{key}: {type(value).__name__}" for key, value in content.items() if not isinstance(value, torch.Tensor)
        ]
    if odd or not content:
        got = ", ".join(odd[:_SHOWN]) or "an empty dict"
        raise UserError(f"The file of {what} is not a state dict.", where=path, expected="tensors by name", got=got)
    return content, {}


def check_tensors(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    message: str,
    where: object,
    faults: Sequence[str] = (),
    todo: str = "",
) -> None:
    """Refuse tensors that do not match a network's key by key and shape by shape.

    Args:
        faults: what is wrong with the file besides.

    Raises:
        UserError: `message`, with one report of everything that is missing, unknown or of another shape.
    """
    faults = [*faults, *(f"{name} is missing" for name in wanted if name not in found)]
    faults += [f"{name} is unknown" for name in found if name not in wanted]
    faults += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]
    if faults:
        shown = "\n  ".join(faults[:_SHOWN]) + (
            f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        )
        raise UserError(
            message,
            where=where,
            expected=f"{len(wanted)} tensors",
            got=f"{len(found)} tensors; {len(faults)} faults:\n  {shown}",
            todo=todo,
        )
