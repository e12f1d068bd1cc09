"""Plays two games and trains beside them for an hour, and measures whether memory, open files or shared memory grow.

Input: how long, the number of games, a folder to work in. Output: for each part the growth between the first and the last quarter, and
`samples.csv` in the folder, one line every ten seconds, so that a run that was stopped can still be read.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.processes import descendants, end, end_tree, spawn
from steve1.training.logging.scalars import SCALARS_FILE

GOAL_PERCENT = 5.0  # most that memory may grow
_EVERY_S = 10.0
_SETTLE = 0.1  # share of the time in which games, caches and the first checkpoint come; it is not compared
_SHARED = "/dev/shm/"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MINI = str(ROOT / "data/mini/mini.weights")
Row = dict[str, float]


def measure_soak(minutes: float = 60.0, games: int = 2, folder: Path | None = None) -> dict[str, Any]:
    """Record a small dataset, then train on it (validation, checkpoints, rollouts) while the mini policy plays `games` games.

    Args:
        minutes: how long to measure.
        games: games that the policy plays beside training.
        folder: where to work, and where a dataset of an earlier run is used again; a temporary one by default.

    Returns:
        for "training" (trainer, loader), "games" (evaluation, games) and "all": rss_mb, open_files and shm_mb of the first and the last
        quarter and the growth in percent; for "rollouts", which come and go, the largest rss_mb of both; frames trained, validations,
        rollouts and episodes; processes and files in /dev/shm that were left.

    Raises:
        UserError: recording failed, or a part ended before its time; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="steve1_soak_") as own:
        work = folder or Path(own)
        work.mkdir(parents=True, exist_ok=True)
        _prepare(work)
        parts = {name: _start(name, words, work) for name, words in _programs(work, games, minutes).items()}
        try:
            rows = _watch(parts, work, minutes * 60)
            shared = {entry for pid in _trees(parts, "all") for entry in _shared_entries(pid)}
            _stop(parts)
        finally:
            left = [pid for process in parts.values() for pid in end_tree(process.pid)]
        compared = rows[int(len(rows) * _SETTLE) :]
        figures: dict[str, Any] = {"minutes": minutes, "games": games, "samples": len(rows)}
        figures |= {part: _growth(compared, part) for part in ("training", "games", "all")}
        figures["rollouts"] = _peaks(compared, "rollouts")
        figures["done"] = _done(work)
        figures["left"] = {
            "processes": len(left),
            "shm_entries": sum(
                (Path(_SHARED) / entry).exists() for entry in shared if not entry.startswith("steve1_ports")
            ),
        }
        return figures


def _prepare(work: Path) -> None:
    """Four recorded episodes with goals, and their sampling."""
    program = [sys.executable, "-m", "steve1"]
    record = [
        "generate_dataset",
        "--source",
        "luanti",
        "--behaviours",
        "dig_dirt",
        "--n_episodes",
        "4",
        "--steps",
        "200",
        "--workers",
        "1",
    ]
    sampling = ["create_sampling", "soak", "--dataset_dir", str(work / "dataset"), "--samplings_dir", str(work)]
    record += ["--recordings_dir", str(work / "recordings"), "--output_dir", str(work / "dataset")]
    for words in (record, sampling):
        done = subprocess.run([*program, *words], env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError("The episodes to train on could not be made.", got=(done.stdout + done.stderr)[-1000:])


def _programs(work: Path, games: int, minutes: float) -> dict[str, list[str]]:
    train = f"""train --in_model {ROOT / "data/mini/mini.model"} --in_weights {_MINI} --out_weights {work / "soak.weights"} --overwrite
        --sampling_dir {work} --sampling_name soak --checkpoint_dir {work / "runs"} --batch_size 2 --T 32 --trunc_t 16
        --total_frames 1000000000 --warmup_frames 1000 --learning_rate 1e-5 --val_freq 20 --save_every 50 --rollout_every 50 --threads 1
        --rollout_steps 60 --no_keep_checkpoints --log_every 20 --first_frame 0"""
    play = f"""evaluate --weights {_MINI} --tasks dig_dirt --episodes {round(minutes * 60) + games} --workers {games}
        --folder {work / f"evaluation_{os.getpid()}"}"""  # more episodes than can be played in the time
    return {"training": train.split(), "games": play.split()}


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def _start(name: str, words: Sequence[str], work: Path) -> subprocess.Popen[bytes]:
    with open(work / f"{name}.log", "wb") as log:
        return spawn(
            [sys.executable, "-m", "steve1", *words], signal.SIGKILL, env=_environment(), stdout=log, stderr=log
        )


def _watch(parts: dict[str, subprocess.Popen[bytes]], work: Path, seconds: float) -> list[Row]:
    """A row of figures every ten seconds, also written to samples.csv."""
    rows: list[Row] = []
    begun = time.monotonic()
    with open(work / "samples.csv", "w", encoding="utf-8", newline="") as file:
        while (passed := time.monotonic() - begun) < seconds:
            for name, process in parts.items():
                if process.poll() is not None:
                    said = (work / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-1500:]
                    raise UserError(f"The part {name!r} ended before its time.", where=work / f"{name}.log", got=said)
            row = {"seconds": round(passed, 1)}
            for part in ("training", "games", "rollouts", "all"):
                row |= {f"{part}_{key}": value for key, value in _figures(_trees(parts, part)).items()}
            writer = csv.DictWriter(file, list(row))
            if not rows:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            rows.append(row)
            time.sleep(max(0.0, min(begun + len(rows) * _EVERY_S, begun + seconds) - time.monotonic()))
    return rows


def _trees(parts: dict[str, subprocess.Popen[bytes]], part: str) -> list[int]:
    """The processes of a part; a rollout is one that training starts, with its game."""
    trees = {name: [process.pid, *descendants(process.pid)] for name, process in parts.items()}
    players = [pid for pid in trees["training"] if b"rollout_checkpoint" in _command(pid)]
    trees["rollouts"] = sorted({each for pid in players for each in (pid, *descendants(pid))})
    trees["training"] = [pid for pid in trees["training"] if pid not in trees["rollouts"]]
    return trees[part] if part != "all" else [pid for tree in trees.values() for pid in tree]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _figures(pids: Sequence[int]) -> Row:
    """Resident memory (shared pages in each process that has them), open files, and what of /dev/shm belongs to these processes."""
    resident, files, entries = 0, 0, set[str]()
    for pid in pids:
        try:
            resident += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            files += len(os.listdir(f"/proc/{pid}/fd"))
            entries |= _shared_entries(pid)
        except (OSError, IndexError):
            continue  # it ended meanwhile
    shared = sum(_size(Path(_SHARED) / entry) for entry in entries)
    row = {"processes": len(pids), "rss_mb": resident / 1e6, "open_files": files, "shm_mb": shared / 1e6}
    return {name: round(value, 2) for name, value in row.items()}


def _shared_entries(pid: int) -> set[str]:
    """Names directly below /dev/shm that a process has mapped, opened or works in."""
    try:
        links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd"))]
        targets = [os.readlink(link) for link in links if os.path.islink(link)]
        targets += [line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    except OSError:
        return set()
    return {path.removeprefix(_SHARED).split("/")[0] for path in targets if path.startswith(_SHARED)}


def _size(path: Path) -> int:
    """Bytes of a file or of a folder's files; what is gone meanwhile counts nothing."""
    files = [path] if path.is_file() else [Path(at) / name for at, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.lstat().st_blocks * 512
    return total


def _growth(rows: Sequence[Row], part: str) -> dict[str, float]:
    quarter = max(1, len(rows) // 4)
    found: dict[str, float] = {}
    for key in ("rss_mb", "open_files", "shm_mb"):
        first, last = (fmean(row[f"{part}_{key}"] for row in some) for some in (rows[:quarter], rows[-quarter:]))
        found |= {f"{key}_first": round(first, 1), f"{key}_last": round(last, 1)}
        found[f"{key}_growth_percent"] = round(100 * (last - first) / first, 2) if first else 0.0
    return found


def _peaks(rows: Sequence[Row], part: str) -> dict[str, float]:
    quarter = max(1, len(rows) // 4)
    return {
        f"peak_rss_mb_{name}": max((row[f"{part}_rss_mb"] for row in some), default=0.0)
        for name, some in (("first", rows[:quarter]), ("last", rows[-quarter:]))
    }


def _stop(parts: dict[str, subprocess.Popen[bytes]]) -> None:
    """As Ctrl-C does, and wait until the parts have ended their own processes."""
    for process in parts.values():
        end(process, signal.SIGINT, patience_s=60)


def _done(work: Path) -> dict[str, int]:
    """What was trained and played, from the files that the parts left."""
    run, episodes = work / "runs" / "soak", work / f"evaluation_{os.getpid()}" / "episodes.jsonl"
    steps = [json.loads(line) for line in (run / SCALARS_FILE).read_text(encoding="utf-8").splitlines()]
    return {
        "optimizer_steps": max((int(step["step"]) for step in steps), default=0),
        "validations": sum("validation/loss" in step for step in steps),
        "rollouts": len(list((run / "rollouts").glob("*/rollouts.json"))),
        "episodes": len(episodes.read_text(encoding="utf-8").splitlines()) if episodes.is_file() else 0,
    }
