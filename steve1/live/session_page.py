"""The page of a session: it is sent frames and state, and its commands are passed on. One client is at the controls, the others watch.

Frames are JPEGs, or H.264 for a client whose browser decodes it. A client has an encoder of its own, which is given only the frames
that are sent to it: a slow one misses frames, and still needs no key frame but the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from av.error import FFmpegError

from steve1.data.media.h264 import H264Stream, can_encode
from steve1.live.host import messages, page_files
from steve1.live.protocol import MAX_MESSAGE, SESSION_COMMANDS, Command, pack, parse
from steve1.live.screen import View
from steve1.live.session import Session

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

#: clients that are sent H.264; further ones are sent JPEGs, which are encoded once for all
MOST_STREAMS = 4


class Client:
    """A page that is open somewhere."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.wake = asyncio.Event()
        self.said: tuple[int, object] = (0, None)  # the state that it has, and whether it is at the controls
        self.seen = 0
        self.wants_video = False
        self.stream: H264Stream | None = None

    def picture(self, view: View) -> bytes:
        """The message with a view, in the form that this client is sent."""
        size = (view.frame.shape[1], view.frame.shape[0])
        if not self.wants_video or not can_encode(*size):
            return view.encoded
        try:
            if self.stream is None or self.stream.size != size:
                self.stream = H264Stream(*size)
            unit = self.stream.encode(view.frame)
        except FFmpegError:
            self.wants_video = False
            return view.encoded
        return pack({"kind": "frame", "codec": unit.codec, "key": unit.key, **view.facts}, unit.data)


class SessionPage:
    """A `Service` for a session. Runs in the server's thread."""

    max_message = MAX_MESSAGE

    def __init__(self, session: Session) -> None:
        self.files: Mapping[str, bytes] = page_files("live")
        self._session = session
        self._clients: list[Client] = []
        self._controller: Client | None = None

    def wake_all(self) -> None:
        """There is something new to send."""
        for client in self._clients:
            client.wake.set()

    async def serve(self, connection: ServerConnection) -> None:
        client = Client(connection)
        self._clients.append(client)
        if self._controller is None:
            self._take_control(client)
        sender = asyncio.create_task(self._send(client))
        client.wake.set()
        try:
            async for command in messages(connection, functools.partial(parse, commands=SESSION_COMMANDS)):
                await self._receive(client, command)
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sender
            self._clients.remove(client)
            if self._controller is client:
                self._controller = None
                self._session.left()
                self.wake_all()

    def _take_control(self, client: Client) -> None:
        self._controller = client
        self._session.arrived()
        self.wake_all()

    async def _receive(self, client: Client, command: Command) -> None:
        if command["do"] == "look":
            past = self._session.screen.past(command["tick"])
            if past is not None:
                await client.connection.send(past)
        elif command["do"] == "video":
            self._stream(client, command["on"])
        elif command["do"] == "control":
            if self._controller is None:
                self._take_control(client)
        elif client is not self._controller:
            await client.connection.send(json.dumps({"kind": "refused", "text": "watching"}))
        else:
            self._obey(command)

    def _stream(self, client: Client, on: bool) -> None:
        """Send H.264 from the next frame on, which begins anew with a key frame, or JPEGs."""
        others = sum(other.wants_video for other in self._clients if other is not client)
        client.wants_video = on and others < MOST_STREAMS
        if client.stream is not None:
            client.stream.restart()

    def _obey(self, command: Command) -> None:
        if command["do"] == "input":
            self._session.person.update(**{name: value for name, value in command.items() if name != "do"})
        else:
            self._session.post(command)

    async def _send(self, client: Client) -> None:
        """Send the newest state and frame; what came while the last was on its way is left out."""
        screen = self._session.screen
        while True:
            await client.wake.wait()
            client.wake.clear()
            mine = "you" if self._controller is client else "other" if self._controller else "nobody"
            if screen.state and client.said != (screen.version, mine):
                client.said = (screen.version, mine)
                state: dict[str, Any] = {**screen.state, "controls": mine}
                await client.connection.send(json.dumps(state, ensure_ascii=False))
            view = screen.view
            if view is not None and view.number != client.seen:
                client.seen = view.number
                await client.connection.send(client.picture(view))
