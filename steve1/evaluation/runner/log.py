"""The log of finished episodes, which survives a kill.

Input: an episode's line when it is finished.
Output: the lines of all finished episodes, and settings.json beside them, so that no two experiments are mixed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import write_json
from steve1.core.messages import translated
from steve1.core.paths import slug

# More of these only adds lines; any other change would mix two experiments.
_GROWING = {"episodes", "tasks", "videos", "similarity"}
# A policy's files, and the facts that hold their sha256.
_HASHES = {"weights": "sha256", "model": "model_sha256", "mineclip": "mineclip_sha256", "prior": "prior_sha256"}


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
        changed = [
            line
            for name in sorted({*kept, *settings} - _GROWING)
            for line in _changes(name, kept.get(name), settings.get(name))
        ]
        if changed:
            raise UserError(
                "This folder holds an evaluation with other settings.",
                where=path,
                got="; ".join(map(translated, changed)),
                todo="choose another --name, or remove the folder",
            )
        policies = {facts["name"]: facts for facts in settings.get("contestants") or ()}
        for facts in kept.get("contestants") or ():
            policies[facts["name"]] = facts | policies.get(facts["name"], {})
        merged = {**settings}
        if policies:
            merged["contestants"] = list(policies.values())
        if "prompts" in settings:
            merged["prompts"] = {**settings["prompts"], **(kept.get("prompts") or {})}
        if merged != kept:
            write_json(path, merged)

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


def _changes(name: str, then: Any, now: Any) -> list[str]:
    """How a setting differs; policies, tasks and prompts that only one of the two has are no difference."""
    if name == "contestants":
        # By their names on disk: episodes of "Tuned" would be taken for those of "tuned".
        known = {slug(facts["name"]): facts for facts in then or ()}
        return [line for facts in now or () for line in _policy_changes(known.get(slug(facts["name"]), facts), facts)]
    if name == "prompts":
        known = then or {}
        return [
            f"prompt of {row}: {known[row]!r} then, {text!r} now"
            for row, text in (now or {}).items()
            if known.get(row, text) != text
        ]
    return [] if then == now else [f"{name}: {then} then, {now} now"]


def _policy_changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The facts of a policy that differ. A file is known by its hash, where both have one, and else by its path."""
    changed = []
    for field in sorted({*then, *now}):
        one, other = then.get(field), now.get(field)
        digest = _HASHES.get(field, "")
        # Hashes are missing in evaluations of earlier versions, and where a file is not on this machine.
        unknown = field in _HASHES.values() and None in (one, other)
        same_file = digest and then.get(digest) == now.get(digest) is not None
        if one != other and not unknown and not same_file:
            changed.append(f"{field} of {now['name']}: {_short(one)} then, {_short(other)} now")
    return changed


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else str(value)
