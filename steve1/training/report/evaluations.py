"""Evaluations of a run's weights, for the pages of runs: what they showed, a film and a link to the whole report.

Input: `data/evaluations/` and `data/comparisons/`. Output: blocks of a page; where there are none, the command that evaluates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.messages import message
from steve1.core.paths import output_path
from steve1.data.media.video import poster
from steve1.reporting.html import Html, element, tiles, video
from steve1.reporting.page import Block
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.logging.layout import in_language

_FOLDERS = ("data/evaluations", "data/comparisons")


def evaluation_blocks(run_dir: Path, hashes: Collection[str], commands: Sequence[str]) -> list[Block]:
    """The evaluations of weights, the newest first.

    Args:
        run_dir: folder of the page, which addresses are relative to.
        hashes: SHA-256 of the weights files.
        commands: what evaluates them, shown where nothing has been evaluated.
    """
    blocks: list[Block] = []
    for folder, report in _evaluations(set(hashes)):
        blocks += [
            element("h3", _title(folder, report)),
            *map(str, report.get("answer", ())),
            list(map(str, report.get("sentences", ()))),
        ]
        for film in sorted(folder.glob("videos/*-vs-*.mp4"))[:1]:
            named = re.match(r"(.+?)-(\d+)-", film.name)
            words = message("film", task=named[1], number=int(named[2])) if named else film.stem
            blocks.append(tiles([video(_address(run_dir, film), words, poster(film))]))
        blocks.append(link(run_dir, folder / REPORT_FILE, in_language("the whole report · 完整报告")))
    return blocks or [missing("The weights have not been evaluated yet: · 这些权重还没有评估过：", *commands)]


def link(run_dir: Path, target: Path, words: str) -> Html:
    """A paragraph with a link to a file, which works from a disk and from a server."""
    return element("p", element("a", words, href=_address(run_dir, target)))


def missing(words: str, *commands: str) -> Html:
    """What is not there yet ("English · 中文"), and the commands that make it."""
    return element("p", in_language(words), *(element("code", command, class_="command") for command in commands))


def _evaluations(own: set[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    reports = [path for place in _FOLDERS for path in output_path(place).glob("*/report.json")]
    for path in sorted(reports, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            report = read_json(path)
            played = {entry.get("sha256") for entry in report["settings"]["contestants"]}
        except (OSError, ValueError, KeyError, TypeError, UserError):
            continue  # of another version, or being written
        if own & played:
            yield path.parent, report


def _title(folder: Path, report: dict[str, Any]) -> str:
    tasks = ", ".join(report["settings"].get("tasks", ()))
    return f"{folder.name} ({tasks})" if tasks else folder.name


def _address(run_dir: Path, target: Path) -> str:
    return quote(os.path.relpath(target, run_dir).replace(os.sep, "/"))
