"""The log of finished episodes, which survives a kill.

Input: an episode's line when it is finished.
Output: the lines of all finished episodes, and settings.json beside them, so that no two experiments are mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import write_json


class EpisodeLog:
    """`episodes.jsonl`: one line for each finished episode, appended and synced before it counts.

    A line cut off by a kill is dropped when the log is opened again. A log is only continued under the same settings.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any],
        earlier: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Open or continue.

        Args:
            folder: the run's folder.
            settings: the run's settings.
            earlier: {setting: values that mean the same}, as earlier versions wrote them.

        Raises:
            UserError: the folder holds a run with other settings (names what differs), or a damaged line.
        """
        self.folder = Path(folder)
        self.path = self.folder / "episodes.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check(json.loads(json.dumps(settings)), earlier or {})
        self.lines = self._read()

    def _check(self, settings: Mapping[str, Any], earlier: Mapping[str, Sequence[object]]) -> None:
        path = self.folder / "settings.json"
        if not path.exists():
            write_json(path, settings)
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept |= {name: settings[name] for name, values in earlier.items() if kept.get(name) in values}
        differing = sorted(name for name in set(kept) | set(settings) if kept.get(name) != settings.get(name))
        # More episodes, policies or tasks only add lines; everything else would mix different experiments.
        growing = {"episodes", "tasks", "videos", "similarity"}
        union: dict[str, dict[str, Any]] = {}
        for name in ("contestants", "prompts"):
            now, before = _by_name(settings.get(name)), _by_name(kept.get(name))
            union[name] = {**now, **before}
            if all(union[name][key] == value for key, value in now.items()):
                growing.add(name)
        changed = [name for name in differing if name not in growing]
        if changed:
            raise UserError(
                "This folder holds an evaluation with other settings.",
                where=f"{path}: {', '.join(changed)}",
                expected={name: kept.get(name) for name in changed},
                got={name: settings.get(name) for name in changed},
                todo="choose another --name, or remove the folder",
            )
        if differing:
            write_json(path, {**settings, **union, "contestants": list(union["contestants"].values())})

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(self.path, len(whole))
        lines: dict[str, dict[str, Any]] = {}
        for number, text in enumerate(whole.splitlines(), start=1):
            try:
                line = json.loads(text)
                lines[line["key"]] = line
            except (ValueError, KeyError, TypeError) as fault:
                raise UserError(
                    "This log has a damaged line.",
                    where=f"{self.path}:{number}",
                    got=str(fault),
                    todo="remove that line; its episode is then played again",
                ) from None
        return lines

    def add(self, line: dict[str, Any]) -> None:
        """Append a finished episode; on disk when this returns."""
        with open(self.path, "ab") as handle:
            handle.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())
        self.lines[line["key"]] = line


def _by_name(setting: Any) -> dict[str, Any]:
    """{name: facts} of a list of policies; {row: prompt} as it is."""
    return setting if isinstance(setting, dict) else {facts["name"]: facts for facts in setting or ()}
