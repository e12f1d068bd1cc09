"""Local web servers for tests: any handler, and one that misbehaves on demand, for everything that downloads."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def running(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server with this handler on a free local port; its address, without a trailing slash."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Faulty:
    """Serves `files` (path → bytes). `plan[path]` is a list of faults, used up one per request:
    an int (that status), "drop" (close without an answer), ("short", n) (n bytes, then close), "html", "no-range", ("from", n) (bytes from n on,
    whatever was asked for). `etag` "": files have none."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.plan: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.url, self.etag = "", '"1"'


@contextmanager
def faulty_server() -> Iterator[Faulty]:
    """Run a `Faulty` server on a free local port; `.url` has no trailing slash."""
    state = Faulty()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            self.close_connection = True
            state.requests.append((self.path, self.headers.get("Range", "")))
            plan = state.plan.get(self.path) or []
            fault = plan.pop(0) if plan else None
            if fault == "drop":
                return
            body = state.files.get(self.path)
            if isinstance(fault, int) or body is None:
                self._head(fault if isinstance(fault, int) else 404, {"Content-Length": "0"})
                return
            if fault == "html":
                self._head(200, {"Content-Type": "text/html", "Content-Length": "4"})
                self.wfile.write(b"<ht>")
                return
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted.startswith("bytes=") and fault != "no-range":
                start = int(wanted[6:].split("-")[0])
            if isinstance(fault, tuple) and fault[0] == "from":
                start, fault = fault[1], None
            if start >= len(body) and start:
                self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            headers = {
                "Content-Length": str(len(body) - start),
                "Content-Type": "application/octet-stream",
            }
            if state.etag:
                headers["ETag"] = state.etag
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._head(206 if start else 200, headers)
            piece = body[start:]
            self.wfile.write(piece[: fault[1]] if isinstance(fault, tuple) else piece)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()

    with running(Handler) as state.url:
        yield state
