"""The page on which episodes are watched and judged: it is sent frames with their actions, and its judgements are kept."""

from __future__ import annotations

import asyncio
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steve1.actions import ENV_BUTTONS
from steve1.core.errors import UserError
from steve1.core.messages import language
from steve1.core.paths import display
from steve1.data.episodes.episode import Episode
from steve1.live.host import messages, page_files
from steve1.live.judging import Judgement, Judgements, ListExists, checked, write_judged
from steve1.live.protocol import DATASET_COMMANDS, MAX_MESSAGE, BadMessage, Command, parse, picture

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

#: frames that are sent at a time: two seconds
_STRETCH = 40


class DatasetPage:
    """A `Service` for episodes.

    Args:
        episodes: in the order of the page.
        reasons: {episode: why it looks suspicious}.
        samplings: folder of the lists that are written.
    """

    max_message = MAX_MESSAGE

    def __init__(self, episodes: Sequence[Path], reasons: Mapping[Path, str], samplings: Path) -> None:
        self.files: Mapping[str, bytes] = page_files("dataset")
        self._episodes, self._reasons, self._samplings = list(episodes), reasons, samplings
        self._judgements = {path.parent: Judgements(path.parent) for path in self._episodes}
        self._connections: set[ServerConnection] = set()
        self._lengths: list[int] = []
        self._captions: list[list[str]] = []
        for path in self._episodes:
            episode = Episode(path)
            captions = episode.metadata.get("captions")
            self._lengths.append(len(episode))
            self._captions.append([str(each) for each in captions] if isinstance(captions, list) else [])

    async def serve(self, connection: ServerConnection) -> None:
        async def refused(fault: BadMessage) -> None:
            number = fault.command.get("episode")
            if fault.command.get("do") == "judge" and type(number) is int and 0 <= number < len(self._episodes):
                await self._send_row(connection, number)

        self._connections.add(connection)
        try:
            await connection.send(json.dumps(self._listing()))
            async for command in messages(connection, self._read, refused=refused):
                try:
                    await self._obey(connection, command)
                except (UserError, OSError) as fault:
                    told = {
                        "kind": "fault",
                        "code": "list_exists" if isinstance(fault, ListExists) else "",
                        "text": fault.one_line if isinstance(fault, UserError) else str(fault),
                    }
                    await connection.send(json.dumps(told))
                    if command["do"] == "judge":
                        await self._send_row(connection, command["episode"])
        finally:
            self._connections.discard(connection)

    def _read(self, message: str | bytes) -> Command:
        command = parse(message, DATASET_COMMANDS)
        if command.get("episode", 0) >= len(self._episodes):
            raise BadMessage("no such episode")
        return command

    async def _obey(self, connection: ServerConnection, command: Command) -> None:
        if command["do"] == "frames":
            for message in await asyncio.to_thread(self._frames, command["episode"], command["start"]):
                await connection.send(message)
        elif command["do"] == "judge":
            number = command["episode"]
            fields = {name: command[name] for name in ("mark", "start", "stop", "caption", "weight")}
            judgement = checked(Judgement(**fields), self._lengths[number])
            path = self._episodes[number]
            self._judgements[path.parent].set(path.name, judgement)
            self._tell_others(connection, number)
            await self._send_row(connection, number)
        else:
            name = command["name"].strip()
            if not name or "/" in name or name.startswith("."):
                raise UserError("A list's name has no slash, and does not begin with a dot.", got=name)
            listed = self._samplings / f"{name}_train.txt"
            kept = {folder: Judgements(folder) for folder in self._judgements}  # another server may have written too
            found = await asyncio.to_thread(write_judged, self._episodes, kept, listed, command["overwrite"])
            following = f"SAMPLING_NAME={shlex.quote(name)} bash 3_train_finetune_template.sh"
            await connection.send(json.dumps({"kind": "written", "command": following, **found}))

    def _frames(self, number: int, start: int) -> list[bytes]:
        """The messages with up to _STRETCH frames from `start` on."""
        episode = Episode(self._episodes[number])
        stop = min(start + _STRETCH, len(episode))
        if start >= stop:
            return []
        frames = episode.mineclip_frames(start) if episode.keeps_mineclip_frames else iter(episode.frames(start, stop))
        imitated = episode.imitated
        return [
            picture(
                {
                    "kind": "frame", "episode": number, "frame": place, "pressed": [name for name in ENV_BUTTONS if action.get(name)],
                    "camera": [round(float(value), 2) for value in action["camera"]], "imitated": imitated is None or bool(imitated[place]),
                },
                frame,
            )
            for place, frame, action in zip(itertools.count(start), itertools.islice(frames, stop - start), episode.actions(start, stop))
        ]  # fmt: skip

    async def _send_row(self, connection: ServerConnection, number: int) -> None:
        """What is known of an episode's judgement."""
        row = {"kind": "judged", "episode": number, "by_other": False, **self._row(number)}
        await connection.send(json.dumps(row))

    def _tell_others(self, connection: ServerConnection, number: int) -> None:
        """A page sends whole judgements: one that did not know of another's would undo it."""
        from websockets.asyncio.server import broadcast  # see `Host.start`

        row = {"kind": "judged", "episode": number, "by_other": True, **self._row(number)}
        broadcast(self._connections - {connection}, json.dumps(row))

    def _row(self, number: int) -> dict[str, Any]:
        path = self._episodes[number]
        known = self._judgements[path.parent].of(path.name)
        return {
            "mark": known.mark,
            "start": known.start,
            "stop": known.stop,
            "caption": known.caption,
            "weight": known.weight,
        }

    def _listing(self) -> dict[str, Any]:
        """What the page begins with."""
        rows = []
        for number, path in enumerate(self._episodes):
            rows.append(
                {
                    "name": path.name, "dataset": path.parent.name, "frames": self._lengths[number], "why": self._reasons.get(path, ""),
                    "captions": self._captions[number], **self._row(number),
                }
            )  # fmt: skip
        return {
            "kind": "episodes",
            "language": language(),
            "rows": rows,
            "files": [display(each.path) for each in self._judgements.values()],
        }
