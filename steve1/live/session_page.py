"""The page of a session: it is sent frames and state, and its commands are passed on. One client is at the controls, the others watch."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steve1.live.host import MOST_BAD, NOT_OURS, TOO_MUCH, Rate, page_files
from steve1.live.protocol import MAX_MESSAGE, SESSION_COMMANDS, BadMessage, Command, parse
from steve1.live.session import Session

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection


class Client:
    """A page that is open somewhere."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection, self.rate, self.bad = connection, Rate(), 0
        self.wake = asyncio.Event()
        self.said: tuple[int, object] = (0, None)  # the state that it has, and whether it is at the controls
        self.seen = 0


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
            async for message in connection:
                if not client.rate.allows():
                    await connection.close(TOO_MUCH, "too many messages")
                    break
                await self._receive(client, message)
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

    async def _receive(self, client: Client, message: str | bytes) -> None:
        try:
            command = parse(message, SESSION_COMMANDS)
        except BadMessage as fault:
            client.bad += 1
            if client.bad > MOST_BAD:
                await client.connection.close(NOT_OURS, "not our protocol")
            else:
                await client.connection.send(json.dumps({"kind": "refused", "text": str(fault)}))
            return
        if command["do"] == "look":
            past = self._session.screen.past(command["tick"])
            if past is not None:
                await client.connection.send(past)
        elif command["do"] == "control":
            if self._controller is None:
                self._take_control(client)
        elif client is not self._controller:
            await client.connection.send(json.dumps({"kind": "refused", "text": "watching"}))
        else:
            self._obey(command)

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
                await client.connection.send(view.encoded)
