"""The server of this machine's pages: one port for the page and its WebSocket, in a thread of its own.

It answers on 127.0.0.1 unless told otherwise, and opens sockets only to clients that have the token that the console prints. A
page of another site may not: its origin is not ours. What it sends are the files that it was given, never a path of the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import http
import json
import logging
import secrets
import socket
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from steve1.core.errors import UserError, optional_package
from steve1.live.protocol import BadMessage

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

T = TypeVar("T")
_EVERYWHERE = ("0.0.0.0", "::", "")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: sockets at once; more are turned away
MOST_CLIENTS = 32
#: messages a second of a page; a mouse moves 60 times a second
RATE = 240
#: invalid messages, after which a client is sent away
MOST_BAD = 20
TOO_MUCH, NOT_OURS = 1008, 1003
_SEND_BUFFER = 1 << 17
#: seconds between two pings, and without an answer to one, after which a client is gone
_PING_S, _GONE_S = 5, 10
#: seconds that conversations have to end when the server does
_FAREWELL_S = 1.0
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class Service(Protocol):
    """What a server serves."""

    files: Mapping[str, bytes]
    """{path: content}; "/" is the page, and is only given to clients that have the token."""
    max_message: int
    """Bytes of one message from a client."""

    async def serve(self, connection: ServerConnection) -> None:
        """Talk to a client until it leaves."""


def page_files(name: str) -> dict[str, bytes]:
    """The files of one page of this package: its HTML as "/", its script, and the script and style that all share."""
    folder = resources.files("steve1.live") / "page"
    style = (resources.files("steve1.reporting") / "style.css").read_bytes()
    return {
        "/": (folder / f"{name}.html").read_bytes(),
        f"/{name}.js": (folder / f"{name}.js").read_bytes(),
        "/common.js": (folder / "common.js").read_bytes(),
        "/live.css": style + (folder / "live.css").read_bytes(),
    }


class Rate:
    """Whether a client may send another message: `per_second`, and twice as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._most = per_second, 2 * per_second
        self._left, self._at = self._most, time.monotonic()

    def allows(self) -> bool:
        """Count one message."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        self._left -= 1.0
        return self._left >= 0


async def messages(
    connection: ServerConnection,
    read: Callable[[str | bytes], T],
    per_second: float = RATE,
    refused: Callable[[BadMessage], Awaitable[None]] | None = None,
) -> AsyncIterator[T]:
    """What a client says, read one by one, until it leaves. Invalid messages are refused; a client that sends too many is sent away.

    Args:
        read: raises BadMessage for an invalid message.
        per_second: how many messages it may send, of any kind.
        refused: called after an invalid message was answered.
    """
    rate, bad = Rate(per_second), 0
    async for message in connection:
        if not rate.allows():
            await connection.close(TOO_MUCH, "too many messages")
            return
        try:
            found = read(message)
        except BadMessage as fault:
            bad += 1
            if bad > MOST_BAD:
                await connection.close(NOT_OURS, "not our protocol")
                return
            await connection.send(json.dumps({"kind": "refused", "text": str(fault)}, ensure_ascii=False))
            if refused is not None:
                await refused(fault)
            continue
        yield found


class Host:
    """Serves from `start` to `close`.

    Args:
        service: what is served.
        host, port: where; port 0 takes a free one.
        token: of the address; a new one by default.

    Attributes:
        port: the one that is used.
        url: with the token, for the browser.
    """

    def __init__(self, service: Service, *, host: str = "127.0.0.1", port: int = 8765, token: str = "") -> None:
        self._service, self._host, self.port = service, host, port
        self.token = token or secrets.token_urlsafe(18)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._started: threading.Event = threading.Event()
        self._fault: BaseException | None = None
        self._talking: set[asyncio.Task[None]] = set()

    @property
    def is_public(self) -> bool:
        """Whether other machines reach it."""
        return self._host not in LOOPBACK

    @property
    def url(self) -> str:
        """The page's address."""
        return self._url("localhost" if self._host in _EVERYWHERE else self._host)

    @property
    def public_url(self) -> str:
        """The page's address for other machines."""
        return self._url(_own_address() if self._host in _EVERYWHERE else self._host)

    def _url(self, host: str) -> str:
        token = urllib.parse.quote(self.token, safe="")  # one that somebody chose may have a plus, which means a blank
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={token}"

    def start(self) -> None:
        """Begin to answer.

        Raises:
            UserError: websockets is not installed; the port is in use, or none; there is no such address.
        """
        if not 0 <= self.port <= 65535:
            raise UserError(
                "This is not a port.", where="--port", expected="0 to 65535; 0: any free one", got=self.port
            )
        optional_package("websockets.asyncio.server", "live", "A page or a server of policies")
        self._thread.start()
        self._started.wait()
        if self._fault is None:
            return
        if isinstance(self._fault, OSError) and self._fault.errno == errno.EADDRINUSE:
            other = self.port + 1 if self.port < 65535 else self.port - 1
            todo = f"--port {other}, or --port 0 for any free one"
            raise UserError("Another program uses this port.", got=self.port, todo=todo)
        if isinstance(self._fault, OSError):
            raise UserError("The server cannot use this address.", got=f"{self._host}:{self.port}: {self._fault}")
        raise self._fault

    def close(self) -> None:
        """Send everybody away."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)

    def __enter__(self) -> Host:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Any, *arguments: Any) -> None:
        """Call a function in the server's thread, soon; for any thread."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    # ---- the server's thread ----

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as fault:
            self._fault = fault
        finally:
            self._started.set()
            self._loop.close()

    async def _main(self) -> None:
        from websockets.asyncio.server import serve  # see `start`

        self._stop = asyncio.Event()
        server = serve(
            self._connected, self._host, self.port, process_request=self._request, compression=None, max_size=self._service.max_message,
            max_queue=64, write_limit=65536, ping_interval=_PING_S, ping_timeout=_GONE_S, open_timeout=5, close_timeout=2, server_header=None,
            logger=_quiet(),
        )  # fmt: skip
        async with server as running:
            self.port = running.sockets[0].getsockname()[1]
            self._started.set()
            await self._stop.wait()
            running.close()
            if self._talking:
                await asyncio.wait(self._talking, timeout=_FAREWELL_S)
            for task in self._talking:  # it waits for an answer that nobody gives any more
                task.cancel()

    async def _connected(self, connection: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed  # see `start`

        # A browser that is slow loses frames; in the kernel's buffer of megabytes they would wait for seconds.
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        try:
            with contextlib.suppress(ConnectionClosed):
                await self._service.serve(connection)
        finally:
            self._talking.discard(task)

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets a WebSocket begin; anything else is the answer."""
        path, _, query = request.path.partition("?")
        name = _host_of(request.headers.get_all("Host"))
        if not self.is_public and name not in LOOPBACK:  # a foreign name that leads here: DNS rebinding
            return _answer(http.HTTPStatus.FORBIDDEN, b"This server only accepts requests for localhost.")
        given = urllib.parse.parse_qs(query).get("token", [""])[0]
        knows = hmac.compare_digest(given.encode(), self.token.encode())
        if path in self._service.files and path != "/":
            return _answer(http.HTTPStatus.OK, self._service.files[path], "." + path.rpartition(".")[2])
        if path not in ("/", "/socket"):
            return _answer(http.HTTPStatus.NOT_FOUND, b"There is no such page.")
        if not knows:
            return _answer(
                http.HTTPStatus.FORBIDDEN, b"This page needs the token: open the address that the console printed."
            )
        if path == "/":
            return _answer(http.HTTPStatus.OK, self._service.files.get("/", b""), ".html")
        origins, hosts = request.headers.get_all("Origin"), request.headers.get_all("Host")
        if origins and [urllib.parse.urlsplit(origin).netloc for origin in origins] != hosts:
            return _answer(http.HTTPStatus.FORBIDDEN, b"A page of another site may not connect.")
        if len(self._talking) >= MOST_CLIENTS:
            return _answer(http.HTTPStatus.SERVICE_UNAVAILABLE, b"Too many are connected.")
        return None


def _own_address() -> str:
    """This machine's address, on the way to other networks; its name where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # a documentation address; nothing is sent
        return str(probe.getsockname()[0])
    return socket.gethostname()


def _host_of(headers: list[str]) -> str:
    """The name that a request was sent to; "" unless there is exactly one."""
    with contextlib.suppress(ValueError):
        if len(headers) == 1:
            return urllib.parse.urlsplit(f"//{headers[0]}").hostname or ""
    return ""


def _answer(status: http.HTTPStatus, body: bytes, kind: str = ".txt") -> Response:
    from websockets.datastructures import Headers  # see `Host.start`
    from websockets.http11 import Response

    policy = "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
    headers = {
        "Content-Type": f"{_KINDS.get(kind, 'text/plain')}; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close",
        "Cache-Control": "no-store", "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return Response(status.value, status.phrase, Headers(headers), body)


def _quiet() -> logging.Logger:
    """A logger for websockets that says nothing of clients that break off; faults of ours are still told."""
    logger = logging.getLogger(f"{__name__}.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger
