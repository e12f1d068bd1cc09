"""What conversion did with each recording: the report and the summary."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.messages import message, padded, translated
from steve1.core.paths import display
from steve1.data.recordings.shards import WHOLE, Shard

REPORT = "convert_report.jsonl"


@dataclass
class Result:
    """One line of the report."""

    recording: str  #: its path
    status: str  #: "converted", "exists", "refused", or "failed" (the machine's fault); of a download also "missing"
    reason: str = ""  #: why it was refused
    notes: list[str] = field(default_factory=list)  #: warnings
    episode: str = ""  #: the folder made
    ticks: int = 0  #: of the recording
    frames: int = 0  #: of the episode
    seconds: float = 0.0  #: wall time


def failed(recording: object, fault: object) -> Result:
    """The result of a fault that is not the recording's."""
    if isinstance(fault, OSError):
        text = f"{fault.strerror or fault}" + (f": {fault.filename}" if fault.filename else "")
    else:
        text = " ".join(str(fault).split())[:300]
    return Result(str(recording), "failed", text)


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    results: list[Result]  #: one per recording
    output_dir: Path  #: where the episodes are
    report: Path  #: the results as .jsonl
    stopped: str = ""  #: why the rest was not started (a full disk), "" if nothing stopped the run

    def count(self, status: str) -> int:
        """Recordings with this status."""
        return sum(result.status == status for result in self.results)

    @property
    def text(self) -> str:
        """For people: totals, then each warning and each refusal by name."""
        frames = sum(result.frames for result in self.results)
        counts = {status: self.count(status) for status in ("converted", "exists", "refused", "missing", "failed")}
        more = "".join(
            message(f"converted {status}", count=counts[status]) for status in ("missing", "failed") if counts[status]
        )
        minutes, folder = f"{frames / 20 / 60:.1f}", display(self.output_dir)
        lines = [message("converted", **counts, more=more, frames=f"{frames:,}", minutes=minutes, folder=folder)]
        lines += [
            f"  {padded(message('note'), 8)} {r.recording}: {translated(note)}"
            for r in self.results
            for note in r.notes
        ]
        lines += [
            f"  {padded(message(f'status {r.status}'), 8)} {r.recording}: {translated(r.reason)}"
            for r in self.results
            if r.reason
        ]
        lines += [translated(f"  stopped: {self.stopped}")] if self.stopped else []
        return "\n".join([*map(_printable, lines), message("report", path=display(self.report))])

    def check_finished(self) -> None:
        """Raises UserError if the run had to stop; what it did is in `text` and in the report."""
        if self.stopped:
            todo = "fix that and run the same command again"
            raise UserError("The run had to stop.", where=self.output_dir, got=self.stopped, todo=todo)


def _printable(line: str) -> str:
    """A line with what breaks it, or a terminal, as escapes."""
    whole = line.encode(errors="backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in whole)


def write_report(results: list[Result], target: Path, shard: Shard = WHOLE, stopped: str = "") -> Summary:
    """Write the report; the summary says so if the disk is too full even for that."""
    path = target / REPORT.replace(".jsonl", f"{shard.suffix}.jsonl")
    try:
        with atomic_file(path) as handle:
            for result in results:
                line = json.dumps(asdict(result), ensure_ascii=False) + "\n"
                handle.write(
                    line.encode(errors="backslashreplace")
                )  # a path need not be UTF-8, and JSON has the same escapes
    except OSError as fault:
        stopped = "; ".join(filter(None, [stopped, f"the report could not be written: {fault.strerror or fault}"]))
    return Summary(results, target, path, stopped)
