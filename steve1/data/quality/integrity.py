"""The parts of an episode, each read to its last byte, with every fault named.

In: an episode folder in any layout. Out: what is wrong with each part, by file and frame, and which frames and actions
are sound. Nothing here raises for what it finds: checking and repairing both need the whole list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import AGENT_SIZE
from steve1.data.episodes.layouts import FIRST_GOAL, GOALS, TOKENS, goals_from_pickle, load_array

_BUTTONS = frozenset(act.ENV_BUTTONS)
#: Entropy-coded pixels never hold this many zero bytes in a row; blocks that a disk lost do.
_LOST = bytes(16)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        episode: its folder.
        file: the part of it.
        frame: the first frame concerned, None where it is the whole part.
        what: a sentence.
        expected, got: what should be there and what is.
        warning: True for what training can live with.
    """

    episode: str
    file: str
    frame: int | None
    what: str
    expected: str = ""
    got: str = ""
    warning: bool = False

    def row(self) -> dict[str, Any]:
        """For the .jsonl report."""
        return asdict(self)

    def __str__(self) -> str:
        place = self.file + ("" if self.frame is None else f", frame {self.frame}")
        more = "; ".join(f"{key} {value}" for key, value in (("expected", self.expected), ("got", self.got)) if value)
        return f"{place}: {self.what}" + (f" ({more})" if more else "")


def frame_fault(piece: NDArray[np.uint8]) -> str:
    """Why one packed frame (JPEG bytes, uint8 (n,)) is broken; "" for a sound one."""
    data = piece.tobytes()
    if not data.startswith(b"\xff\xd8\xff"):
        return "it does not begin as a JPEG"
    if not data.endswith(b"\xff\xd9"):
        return "it is cut off"
    if _LOST in data[600:]:
        return "part of it is zeros"
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        frames = decoder.decode(av.Packet(data)) + decoder.decode(None)  # type: ignore[attr-defined]
    except (FFmpegError, ValueError) as fault:
        return f"it does not decode: {getattr(fault, 'strerror', None) or fault}"
    if not frames or frames[0].is_corrupt:
        return "it does not decode"
    if (frames[0].height, frames[0].width) != AGENT_SIZE:
        return f"it is {frames[0].width}x{frames[0].height} pixels"
    return ""


def split_pack(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Offsets i64 (M+1,) of the JPEGs in packed frames whose index is lost, told by where each begins."""
    starts = np.flatnonzero((data[:-2] == 0xFF) & (data[1:-1] == 0xD8) & (data[2:] == 0xFF))
    return np.append(starts, len(data)).astype(np.int64)


def action_fault(action: Any) -> str:
    """Why this is no MineRL action; "" where it is one."""
    if not isinstance(action, dict):
        return f"it is a {type(action).__name__}"
    unknown = sorted(set(action) - _BUTTONS - {"camera"})
    if unknown:
        return f"unknown keys {', '.join(map(str, unknown[:3]))}"
    for name in action.keys() & _BUTTONS:
        value = np.asarray(action[name])
        if value.size != 1 or value.dtype.kind not in "biuf" or float(value.reshape(-1)[0]) not in (0.0, 1.0):
            return f"{name} is neither 0 nor 1"
    try:
        camera = np.asarray(action["camera"], dtype=np.float64).reshape(-1)
    except KeyError:
        return "it has no camera"
    except (TypeError, ValueError):
        return "its camera is not two numbers"
    if camera.shape != (2,) or not all(math.isfinite(value) for value in camera.tolist()):
        return "its camera is not two finite numbers"
    return ""


def read_action_lines(path: Path) -> Iterator[tuple[act.EnvAction | None, str]]:
    """Each line of actions.jsonl as (action, "") or (None, why it is none); an absent file has no lines."""
    try:
        with open(path, "rb") as lines:
            for raw in lines:
                if not raw.strip():
                    continue
                try:
                    action = json.loads(raw)
                except (ValueError, RecursionError) as fault:
                    yield None, f"not JSON: {str(fault)[:80]}"
                    continue
                fault_text = action_fault(action)
                yield (None if fault_text else action), fault_text
    except OSError:
        return


def token_fault(tokens: NDArray[Any], actions: list[act.EnvAction | None]) -> tuple[int | None, str, str, str]:
    """(frame, what, expected, got) of the first thing wrong with action_tokens; what is "" where nothing is."""
    if tokens.ndim != 2 or tokens.shape[1] != 2 or tokens.dtype.kind not in "iu":
        return None, "the tokens have the wrong form", "integers (N, 2)", f"{tokens.dtype} {tokens.shape}"
    known = [row for row, action in enumerate(actions[: len(tokens)]) if action is not None]
    buttons, camera = act.to_joint([actions[row] or {} for row in known])
    wanted: NDArray[Any] = np.stack([buttons, camera], axis=1)
    wrong = np.flatnonzero((np.asarray(tokens)[known] - wanted).any(axis=1))
    if len(wrong):
        row = known[int(wrong[0])]
        more = f" and at {len(wrong) - 1} more frames" if len(wrong) > 1 else ""
        return (
            row,
            f"the token is not that of the action{more}",
            f"{wanted[wrong[0]].tolist()}",
            f"{tokens[row].tolist()}",
        )
    return None, "", "", ""


def load_goals(path: Path) -> NDArray[np.floating[Any]]:
    """Embeddings (N, E) of either kind of file.

    Raises:
        UserError: it does not load, or is no float (N, E).
    """
    found = load_array(path) if path.name == GOALS else goals_from_pickle(path)
    if found.ndim != 2 or found.dtype.kind != "f":
        raise UserError(
            "the embeddings have the wrong form", expected="float (N, E)", got=f"{found.dtype} {found.shape}"
        )
    return found


def goal_faults(goals: NDArray[np.floating[Any]]) -> Iterator[tuple[int, str, bool]]:
    """(row, what, is it a mere warning) for embeddings (N, E)."""
    rows = np.asarray(goals, dtype=np.float32)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    bad = np.flatnonzero(~finite[FIRST_GOAL:]) + FIRST_GOAL
    if len(bad):
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        yield int(bad[0]), f"the embedding is not finite{more}", False
    zero = np.flatnonzero(finite[FIRST_GOAL:] & ~rows[FIRST_GOAL:].any(axis=1)) + FIRST_GOAL
    if len(zero):
        yield int(zero[0]), f"the embedding is all zeros (in {len(zero)} rows)", False
    early = np.flatnonzero(np.isfinite(rows[:FIRST_GOAL]).any(axis=1))
    if len(early):
        yield int(early[0]), f"one of the first {FIRST_GOAL} rows holds numbers instead of NaN", True


def load_tokens(path: Path) -> NDArray[Any] | None:
    """action_tokens.npy, None where it does not load."""
    try:
        return np.asarray(load_array(path / TOKENS))
    except UserError:
        return None


def decode(piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A sound packed frame as uint8 (128, 128, 3) RGB."""
    return cv2.imdecode(piece, cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]
