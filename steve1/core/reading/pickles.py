"""The readers for pickles and weights files that other programs wrote; nothing in them is executed.

Input: files of unknown origin (published `.model` files, STEVE-1's `embeds_attn.pkl` and `actions.pkl`, torch files, safetensors).
Output: plain containers, numbers, strings, numpy arrays and tensors; anything else is refused, or kept as a `Record` where it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.reading import pickle_machine
from steve1.core.reading.contents import refuse_other_content

if TYPE_CHECKING:
    from torch import Tensor

_SHOWN = 12  # faults listed in a message before "and N more"
_LARGEST_MODEL = 16 << 20


def load_restricted(source: str | os.PathLike[str] | bytes, *, max_bytes: int = 4 << 30) -> Any:
    """Read a pickle that may hold only containers, numbers, strings, bytes and numpy arrays.

    Args:
        source: a path, or the bytes themselves.
        max_bytes: larger inputs are refused.

    Raises:
        UserError: the pickle names any class or function outside that list (nothing of it is executed),
            is damaged, or is too large.
    """
    return _load(source, max_bytes, foreign=False)


def load_inert(source: str | os.PathLike[str] | bytes) -> Any:
    """Read a pickle in which a `Record` stands for each object of a foreign class; nothing of it is imported or executed.

    Raises:
        UserError: it is damaged, or too large.
    """
    return _load(source, _LARGEST_MODEL, foreign=True)


def _load(source: str | os.PathLike[str] | bytes, max_bytes: int, *, foreign: bool) -> Any:
    where = "bytes in memory" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _read(Path(source), max_bytes)
        return pickle_machine.run(data, foreign=foreign)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("This file does not exist.", where=where) from None
    except MemoryError:
        raise UserError(
            "This pickle asks for more memory than there is; it is damaged or hostile.", where=where
        ) from None
    except Exception as fault:
        damaged = not isinstance(fault, pickle_machine.RefusedError)
        read = "" if foreign else ": only plain containers, numbers, strings and numpy arrays are read"
        raise UserError(
            f"This pickle was refused{read}.",
            where=where,
            got=f"it is damaged ({type(fault).__name__}: {str(fault)[:120]})" if damaged else str(fault),
            todo="take the file from its publisher again, or convert it with the program that made it",
        ) from None


def _read(path: Path, max_bytes: int) -> bytes:
    refuse_other_content(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise UserError(
            "This pickle is larger than any we read.",
            where=path,
            expected=f"at most {max_bytes:,} bytes",
            got=f"{size:,}",
        )
    return path.read_bytes()


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
    refuse_other_content(path)
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
        shown = "\n  ".join(map(translated, faults[:_SHOWN])) + (
            translated(f"\n  … and {len(faults) - _SHOWN} more") if len(faults) > _SHOWN else ""
        )
        raise UserError(
            message,
            where=where,
            expected=f"{len(wanted)} tensors",
            got=f"{len(found)} tensors; {len(faults)} faults:\n  {shown}",
            todo=todo,
        )
