"""The files of an episode: their names, and how the ones that several formats share are read and written."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import pickletools
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError, nearest
from steve1.core.files import json_lines, sha256_file
from steve1.core.messages import translated
from steve1.core.reading.contents import refuse_other_content
from steve1.core.reading.pickles import load_restricted

METADATA, PACK, INDEX = "metadata.json", "frames.jpgs", "frames_index.npy"
ACTIONS, ACTIONS_PICKLE, TOKENS = "actions.jsonl", "actions.pkl", "action_tokens.npy"
MINECLIP_VIDEO, GOALS, GOALS_PICKLE = "frames_mineclip.mp4", "embeds_attn.npy", "embeds_attn.pkl"
LABEL_LOGP = "label_logp.npy"
"""How sure the labels of a video are: <f2 (N, 2), log-probabilities summed over the buttons and over the camera's axes."""
#: bool (N,), only where training imitates some frames and not others: True where it does
ACTION_MASK = "action_mask.npy"
#: a goal embedding describes this many frames, so the first 15 frames of an episode have none
GOAL_FRAMES = 16
FIRST_GOAL = GOAL_FRAMES - 1
#: beginnings of the names of files that an episode's pictures do not depend on: goals, actions, notes, and hidden ones
_NOT_PICTURES = ("embeds_attn", "action", "metadata", ".")
_NAMES = {*act.ENV_BUTTONS, "camera"}


def plain_action(action: act.EnvAction, where: str = "") -> act.EnvAction:
    """A MineRL action as plain numbers: every button 0 or 1, "camera" a list of two floats.

    Raises:
        UserError: it is no MineRL action; `where` says whose.
    """
    plain = act.null_action()
    try:
        for name in act.ENV_BUTTONS:
            if name in action:
                plain[name] = int(int(action[name]) != 0)  # as the joint classes count it
        plain["camera"] = np.asarray(action["camera"], dtype=np.float64).reshape(2).tolist()
    except (KeyError, TypeError, ValueError, OverflowError) as fault:
        raise UserError(
            "an action is not a MineRL action",
            where=where,
            expected='0 or 1 for each button and "camera": [pitch, yaw] in degrees',
            got=f"{type(fault).__name__}: {str(fault)[:120]}",
        ) from None
    return plain


def plain_actions(actions: Sequence[act.EnvAction], episode: Path) -> list[act.EnvAction]:
    """An episode's actions as `plain_action`; UserError names the first frame whose action is none."""
    return [plain_action(action, f"{episode}, frame {number}") for number, action in enumerate(actions)]


def action_line(action: act.EnvAction) -> str:
    """A plain action as a line of actions.jsonl."""
    return json.dumps(action, separators=(",", ":")) + "\n"


def read_actions(path: Path) -> list[act.EnvAction]:
    """The MineRL actions of actions.jsonl; UserError names file and line of the first bad one."""
    found: list[act.EnvAction] = []
    try:
        for number, action, fault in json_lines(path):
            where = f"{path}:{number}"
            if fault:
                raise UserError("This line is not JSON.", where=where, got=fault)
            if not isinstance(action, dict) or "camera" not in action:
                expected = 'a MineRL action with "camera": [pitch, yaw]'
                raise UserError("This line is not an action.", where=where, expected=expected, got=str(action)[:80])
            found.append(action)
    except FileNotFoundError:
        what = "This episode has frames and no actions: training needs what was pressed at each frame."
        raise UserError(what, where=path) from None
    return found


def unknown_buttons(actions: Sequence[act.EnvAction]) -> str:
    """What names of buttons mean nothing here, and how often they occur; "" if all mean something."""
    unknown = Counter(name for action in actions for name in action if name not in _NAMES)
    if not unknown:
        return ""
    counts = [f'"{name}" in {count} of {len(actions)} actions' for name, count in unknown.most_common(3)]
    counts += [f"and {len(unknown) - 3} more"] if len(unknown) > 3 else []
    shown = ", ".join(map(translated, counts))
    hint = nearest(str(unknown.most_common(1)[0][0]), act.ENV_BUTTONS)
    return f"{shown}: a button of this name means nothing here (known: {hint})"


def load_array(path: Path) -> NDArray[Any]:
    """A memory-mapped .npy; UserError if it is missing, torn or holds objects."""
    try:
        refuse_other_content(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as fault:  # the last two: a torn header
        # NumPy takes any file without its header for a pickle, and advises to load that anyway.
        got = "not an array: no .npy header, or it holds Python objects" if "pickle" in str(fault) else str(fault)
        todo = "run the step that writes this file again"
        raise UserError("This array does not load.", where=path, got=got, todo=todo) from None


def mineclip_of(metadata: dict[str, Any]) -> str:
    """SHA-256 of the MineCLIP weights that made an episode's goals; "" where its metadata does not say."""
    made_by = metadata.get("mineclip")
    return str(made_by.get("sha256") or "") if isinstance(made_by, dict) else ""


def origins(metadata: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An episode's metadata, and what it keeps of those that it was converted from, through other programs' formats: the latest first."""
    known: Any = metadata
    while isinstance(known, dict):
        yield known
        known = known.get("origin")


def options_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """What stood in the recording's -options.json; {} without one."""
    options = metadata.get("options")
    return options if isinstance(options, dict) else {}


def game_of(metadata: dict[str, Any]) -> str:
    """The game that an episode says it is of; "" where it does not."""
    for known in origins(metadata):
        named = known.get("env") or options_of(known).get("env")
        if named and isinstance(named, str):
            return named
    return ""


def events_of(metadata: dict[str, Any]) -> list[tuple[int, str]]:
    """The (frame, event) of an episode's metadata, in order; those of another form, as other programs may write them, are left out."""
    return _placed(metadata.get("events"))


def prompts_of(metadata: dict[str, Any]) -> list[tuple[int, str]]:
    """The (frame, prompt) of an episode that a LeRobot dataset gave several tasks, in order: each holds from its frame on."""
    lerobot = metadata.get("lerobot")
    return _placed(lerobot.get("prompts")) if isinstance(lerobot, dict) else []


def _placed(known: Any) -> list[tuple[int, str]]:
    entries = known if isinstance(known, list) else []
    return [(entry[0], entry[1]) for entry in entries if isinstance(entry, list) and [*map(type, entry)] == [int, str]]


def name_fault(name: str) -> str:
    """Why no episode can have this name, "" if one can: it is a folder's, and stands in lists."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8 text: rename it (a whole folder: convmv -f gbk -t utf8 -r --notest FOLDER)"
    if name.splitlines() != [name.strip()] or any(letter < " " or letter == "\x7f" for letter in name):
        return "its name has a line break, a control character, or a blank at one end: rename it"
    if "/" in name or name.startswith("."):
        return "its name has a slash, or begins with a dot as hidden files do: rename it"
    return ""


def goals_file(folder: Path) -> Path | None:
    """The file with an episode's goal embeddings, None before the embedding step."""
    return next((folder / name for name in (GOALS, GOALS_PICKLE) if (folder / name).exists()), None)


def load_goals(path: Path) -> NDArray[np.floating[Any]]:
    """Goal embeddings (N, E) float16 or float32, rows 0..14 NaN; an .npy is memory-mapped.

    Raises:
        UserError: the file does not load, or holds something else.
    """
    found = load_array(path) if path.name == GOALS else _goals_from_pickle(path)
    if found.ndim != 2 or found.dtype.kind != "f":
        got = f"{found.dtype} {found.shape}"
        raise UserError("The goal embeddings have the wrong form.", where=path, expected="float (N, E)", got=got)
    return found


def _goals_from_pickle(path: Path) -> NDArray[np.float32]:
    """STEVE-1's list (None, then (1, E) or (E,) arrays) as float32 (N, E) with NaN rows."""
    rows = load_restricted(path)
    try:
        return _goal_rows(rows, path)
    except (TypeError, ValueError) as fault:
        raise UserError("These embeddings are not rows of numbers.", where=path, got=str(fault)[:120]) from None


def _goal_rows(rows: Any, path: Path) -> NDArray[np.float32]:
    if isinstance(rows, np.ndarray) and rows.ndim >= 2:
        return rows.reshape(len(rows), -1).astype(np.float32)
    if not isinstance(rows, (list, tuple)):
        raise UserError("These embeddings are neither a list nor an array.", where=path, got=type(rows).__name__)
    sizes = {np.size(row) for row in rows if row is not None}
    if len(sizes) != 1:
        raise UserError("These embeddings differ in size.", where=path, got=f"sizes {sorted(sizes)[:5]}")
    found = np.full((len(rows), sizes.pop()), np.nan, np.float32)
    for number, row in enumerate(rows):
        if row is not None:
            found[number] = np.asarray(row, np.float32).reshape(-1)
    return found


def check_finite(goals: NDArray[np.floating[Any]], where: Path, todo: str = "") -> None:
    """UserError unless every goal row after the first 15 is finite; a memory map is read in pieces."""
    for start in range(FIRST_GOAL, len(goals), 4096):
        # The sum of a row is finite only if the row is; this needs no mask as large as the data.
        sums = np.asarray(goals[start : start + 4096], dtype=np.float32).sum(axis=1)
        if not np.isfinite(sums).all():
            row = start + int(np.flatnonzero(~np.isfinite(sums))[0])
            raise UserError(
                "A goal embedding is not finite.",
                where=f"{where}, row {row}",
                expected=f"numbers in every row after the first {FIRST_GOAL}",
                todo=todo,
            )


def check_goal_size(before: int, size: int, where: object) -> None:
    """Raise UserError where goals have another size than those of the episodes before; 0: there were none."""
    if before not in (0, size):
        raise UserError(
            "Episodes of one list have goals of different sizes.",
            where=where,
            expected=f"E = {before} as in the ones before",
            got=f"E = {size}",
            todo="embed all of them with one MineCLIP",
        )


def load_mask(folder: Path) -> NDArray[np.bool_] | None:
    """An episode's mask, bool (N,): whether training imitates the action of each frame; None without one: it imitates all.

    Raises:
        UserError: the file does not load, or holds something else.
    """
    path = folder / ACTION_MASK
    if not path.exists():
        return None
    found = np.asarray(load_array(path))
    if found.ndim != 1 or found.dtype != np.bool_:
        got = f"{found.dtype} {found.shape}"
        raise UserError("The mask of actions has the wrong form.", where=path, expected="bool (N,)", got=got)
    return found


def write_goals_pickle(goals: NDArray[np.floating[Any]], path: Path) -> None:
    """Write goal embeddings (N, E) in STEVE-1's form: None for the first 15 frames, then float32 (1, E).

    Of an episode that ends before its first goal nothing but None would be left, which says no E: it is one array of NaN.
    """
    if len(goals) <= FIRST_GOAL:
        write_pickle(np.array(goals, np.float32), path)
        return
    rows: Sequence[Any] = [
        None if row < FIRST_GOAL else np.array(goals[row : row + 1], np.float32) for row in range(len(goals))
    ]
    write_pickle(rows, path)


def write_pickle(value: Sequence[Any] | NDArray[Any], path: Path) -> None:
    """Write a pickle that numpy 1 reads too."""
    with open(path, "wb") as handle:
        handle.write(pickled(value))
        handle.flush()
        os.fsync(handle.fileno())


def pickled(value: Any) -> bytes:
    """A pickle that numpy 1 reads too: numpy 2 names its module `numpy._core`, which older versions do not know."""
    data = pickle.dumps(value, protocol=3)
    pieces, at = [], 0
    for code, argument, position in pickletools.genops(data):
        if code.name == "GLOBAL" and position is not None and str(argument).startswith("numpy._core."):
            module, name = str(argument).split(" ")
            end = position + len(f"c{module}\n{name}\n")
            pieces += [data[at:position], f"c{module.replace('numpy._core', 'numpy.core')}\n{name}\n".encode()]
            at = end
    return b"".join([*pieces, data[at:]])


def check_length(where: Path, what: str, got: Any, frames: int) -> None:
    """UserError unless an episode's part has one entry for each frame."""
    if got != frames:
        expected = f"{frames} (one for each frame)"
        raise UserError(f"The {what} do not fit the frames.", where=where, expected=expected, got=got)


def pictures_stamp(folder: Path, but: tuple[str, ...] = ()) -> str:
    """Names, sizes and dates of the files that an episode's pictures may lie in, without those whose names begin with one of `but`."""
    others = (*_NOT_PICTURES, *but)
    files = sorted(item for item in folder.rglob("*") if item.is_file() and not item.name.startswith(others))
    stats = [(item.relative_to(folder), item.stat()) for item in files]
    return "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)


def fingerprint(folder: Path) -> str:
    """SHA-256 of what training reads of an episode: actions and goals byte by byte, of the frames' files the names and sizes."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("action", "embeds")):
            digest.update(f"{path.name} {sha256_file(path)}\n".encode())
        elif path.name.startswith("frames") and path.name != MINECLIP_VIDEO:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            digest.update(
                "".join(f"{file.name} {file.stat().st_size}\n" for file in files).encode(errors="surrogateescape")
            )
    return digest.hexdigest()
