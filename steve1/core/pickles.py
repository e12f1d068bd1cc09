"""The one reader for pickles that other programs wrote.

In: bytes of unknown origin (published `.model` files, STEVE-1's `embeds_attn.pkl`, `actions.pkl`).
Out: plain containers, numbers, strings and numpy arrays; anything else is refused before it could run.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError

_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY_SCALARS = {
    name: getattr(np, name)
    for name in "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str_".split()
}
#: Everything a pickle may name. Each of these only builds data from its arguments.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "slice"): slice,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    **{("numpy", name): kind for name, kind in _NUMPY_SCALARS.items()},
}


def _latin1_encode(text: str, encoding: str) -> bytes:
    # Protocol 2 spells bytes as _codecs.encode(text, "latin1"); no other codec is needed, so no other is let in.
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"_codecs.encode with encoding {encoding!r}")
    return str(text).encode("latin1")


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) in _ALLOWED:
            return _ALLOWED[(module, name)]
        if module in _NUMPY_CORE and name in ("_reconstruct", "scalar"):
            return getattr(np._core.multiarray, name)
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return np._core.numeric._frombuffer
        if (module, name) == ("_codecs", "encode"):
            return _latin1_encode
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it has persistent ids")


def load_restricted(source: str | os.PathLike[str] | bytes, *, max_bytes: int = 4 << 30) -> Any:
    """Read a pickle that may hold only containers, numbers, strings, bytes and numpy arrays.

    Args:
        source: a path, or the bytes themselves.
        max_bytes: larger inputs are refused.

    Raises:
        UserError: the pickle names any class or function outside that list (nothing of it is executed),
            is torn, or is too large.
    """
    where = "bytes in memory" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _read(Path(source), max_bytes)
        # Object arrays can be rebuilt only by running the pickle again inside numpy: refused with the rest.
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("EXT1", "EXT2", "EXT4"):
                raise pickle.UnpicklingError(f"it uses extension code {argument}")
        return _Restricted(io.BytesIO(data)).load()
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("This file does not exist.", where=where) from None
    except MemoryError:
        raise UserError("This pickle asks for more memory than there is; it is torn or hostile.", where=where) from None
    except Exception as fault:
        raise UserError(
            "This pickle was refused: only plain containers, numbers, strings and numpy arrays are read.",
            where=where,
            got=f"{fault}" or type(fault).__name__,
            todo="take the file from its publisher again, or convert it with the program that made it",
        ) from None


def _read(path: Path, max_bytes: int) -> bytes:
    size = path.stat().st_size
    if size > max_bytes:
        raise UserError("This pickle is larger than any we read.", where=path, expected=f"at most {max_bytes:,} bytes", got=f"{size:,}")
    return path.read_bytes()
