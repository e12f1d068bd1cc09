"""Sampling lists as text: the episodes that a training run reads, a folder or a replay pack a line, and their shares.

Input: lists that `2_create_sampling.sh` or people wrote. Output: their entries, each with its line for messages.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.core.reading.contents import read_text
from steve1.data.episodes.formats.replay import is_pack, open_pack, pack_of

_WEIGHT = re.compile(r"^#\s*weight\s*[:\uff1a]\s*(.*)$", re.IGNORECASE)
_MEANS_WEIGHT = re.compile(r"^#\s*(weights?\b|权重)", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*[%\uff05]")  # full-width signs too
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListEntry:
    """One line of a list.

    Attributes:
        path: the episode's folder.
        weight: share of its section, None in a list without `# weight:` lines.
        line: line number, from 1.
        section: number of the `# weight:` line above it; 0 without.
        source: the list's path, for messages.
        replay: whether it is an old episode, mixed in to keep old skills.
    """

    path: Path
    weight: float | None = None
    line: int = 0
    section: int = 0
    source: str = ""
    replay: bool = False

    @property
    def where(self) -> str:
        """`list:line`, or the folder of an entry that is from no list."""
        return f"{self.source}:{self.line}" if self.source else str(self.path)


def sampling_command(name: str) -> str:
    """The command that makes this sampling, from the datasets that are there."""
    if name == "finetune_task":
        return "bash 2_create_sampling.sh"
    words = ["bash", "2_create_sampling.sh", name]
    if name in ("mixed", "multi_task"):
        found = [display(folder) for folder in sorted(resolve("data").glob("dataset_*")) if folder.is_dir()][:3]
        folders = found if len(found) > 1 else ["data/dataset_A", "data/dataset_B"]
        return shlex.join([*words, "--mix", *(f"{folder}={1 / len(folders):.2g}" for folder in folders)])
    task = name.removeprefix("finetune_")
    return shlex.join(words if task == name else [*words, "--dataset_dir", f"data/dataset_{task}"])


def read_list(path: str | os.PathLike[str]) -> list[ListEntry]:
    """Read a sampling list; blank lines and comments are skipped, `# weight: 0.7` starts a section with that share.

    Raises:
        UserError: the list is missing or empty, a line points nowhere (with its number), a weight is not a positive number,
            or lines stand above the first weight.
    """
    source = resolve(path)
    if not source.is_file():
        name = re.sub(r"_(train|val)$", "", source.stem)
        raise UserError("This sampling list does not exist.", where=source, todo=sampling_command(name))
    # Not splitlines: a folder's name may hold what Unicode counts as a line's end.
    lines = [line.rstrip("\r") for line in read_text(source, "sampling list").split("\n")]
    weighted = any(_WEIGHT.match(line.strip()) for line in lines)
    entries: list[ListEntry] = []
    weight: float | None = None
    section, percent = 0, None
    for number, text in enumerate(lines, 1):
        line, where = text.strip(), f"{source}:{number}"
        if not line:
            continue
        if line.startswith("#"):
            if match := _WEIGHT.match(line):
                weight, section = _weight(match[1], where), section + 1
            elif _MEANS_WEIGHT.match(line):
                what = "This comment begins like a weight but is not one."
                raise UserError(what, where=where, expected="such as `# weight: 0.7`", got=line[:80])
            elif found := _PERCENT.search(line):
                percent = (float(found[1]), number)
            continue
        if weighted and weight is None:
            what = "This line is above the first weight, so it has no share."
            raise UserError(what, where=where, todo="put a line `# weight: …` above it")
        if percent and (weight is None or not math.isclose(percent[0] / 100, weight, abs_tol=0.005)):
            message = "%s:%d: the comment says %g %%, which has no effect; for that share write `# weight: %g` on the line below it"
            _log.warning(message, display(source), percent[1], percent[0], percent[0] / 100)
        percent = None
        try:
            folder = _named(text)
        except UserError as fault:
            fault.where = where
            raise
        if is_pack(folder):
            packed = open_pack(folder).paths()
            entries += [ListEntry(path, weight, number, section, display(source)) for path in packed]
            continue
        if not folder.is_dir() and pack_of(folder) is None:
            raise UserError(
                "This line of the sampling list does not lead to an episode.",
                where=where,
                expected="an episode folder or a replay pack, relative to the project's root",
                got=line[:200],
                todo=_hint(line) or "bash 2_create_sampling.sh makes a list of what there is",
            )
        entries.append(ListEntry(folder, weight, number, section, display(source)))
    if not entries:
        raise UserError("This sampling list is empty.", where=source, todo="bash 2_create_sampling.sh")
    return entries


def _named(line: str) -> Path:
    """What a line names: as it stands, for names that end in a blank, or without the blanks around it."""
    whole = resolve(line)
    return whole if line != line.strip() and whole.is_dir() else resolve(line.strip())


def _hint(line: str) -> str:
    """What to change in a line that points nowhere, if the path that was meant can be told."""
    quotes = "\"'“”‘’"
    first = re.split(r"[,;，；\t]", line)[0].strip()
    for meant, todo in (
        (line.strip(quotes), "leave out the quotation marks"),
        (first.strip(quotes), "write one folder a line, and nothing behind it"),
        (line.replace("\\", "/"), "write / in place of \\"),
        (unicodedata.normalize("NFKC", line), "write the characters of the path at half width, as the folder has them"),
    ):
        if meant != line and resolve(meant).is_dir():
            return todo
    return ""


def list_line(path: Path) -> str:
    """An episode's folder as a line of a list.

    Raises:
        UserError: its name cannot be read back from a line.
    """
    line = display(path)
    try:
        line.encode()
        lost = "\n" in line or "\r" in line or line.startswith("#")
    except UnicodeEncodeError:
        lost = True
    if lost:
        what = "This folder's name cannot stand in a sampling list, which has one name a line, in UTF-8."
        raise UserError(what, where=ascii(line)[1:-1], todo="rename the folder: no line breaks, no # at its beginning")
    return line


def _weight(text: str, where: str) -> float:
    try:
        value = float(text.strip())
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        what = "This weight is not a positive number."
        raise UserError(what, where=where, expected="such as `# weight: 0.7`", got=text.strip())
    return value
