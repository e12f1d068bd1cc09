"""A page without a browser, in a process of its own: it notes when each frame of a session is there.

Run by benchmarks/live.py with the page's address, and "h264" to ask for that. When the session ends, it prints [[tick, seconds, bytes], ...] as JSON; the seconds
are those of `time.perf_counter`, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import json
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def read(url: str, h264: bool) -> list[tuple[int, float, int]]:
    """(tick, when it was there, bytes of the message) of each frame until the server closes."""
    found: list[tuple[int, float, int]] = []
    address = url.replace("http", "ws", 1).replace("/?", "/socket?")
    with connect(address, compression=None, max_size=None, open_timeout=60) as client:
        if h264:
            client.send(json.dumps({"do": "video", "on": True}))
        try:
            while True:
                message = client.recv()
                if isinstance(message, bytes):
                    now = time.perf_counter()
                    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "big")])
                    found.append((header["tick"], now, len(message)))
        except ConnectionClosed:
            return found


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1], "h264" in sys.argv[2:])))
