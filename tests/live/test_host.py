"""The server and its page's protocol, with plain clients: who is let in, who plays, and what a hostile one achieves."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.live import host as live_host
from steve1.live.host import MOST_CLIENTS, RATE, Host
from steve1.live.protocol import unpack
from steve1.live.session_page import MOST_STREAMS, SessionPage
from tests.live.worlds import Played, lines, playing

websockets = pytest.importorskip("websockets", reason="websockets is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

pytestmark = pytest.mark.e2e  # threads and sockets
#: seconds until a test gives up, where a quiet machine takes a moment
PATIENCE = 120


@contextlib.contextmanager
def served(folder: Path, **more: Any) -> Iterator[tuple[Played, Host]]:
    """A session and its page's server."""
    with playing(folder, arrived=False, **more) as played:
        page = SessionPage(played.session)
        with Host(page, port=0) as host:
            played.session.screen.listen(lambda: host.call(page.wake_all))
            yield played, host


def opened(host: Host, **more: Any) -> ClientConnection:
    url = host.url.replace("http", "ws").replace("/?", "/socket?")
    return connect(url, compression=None, ping_interval=None, open_timeout=PATIENCE, **more)


def say(client: ClientConnection, name: str, **more: Any) -> None:
    client.send(json.dumps({"do": name, **more}))


def state(client: ClientConnection, wanted: Any = lambda found: True) -> dict[str, Any]:
    """The next state that is as wanted."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        message = client.recv(timeout=PATIENCE)
        if isinstance(message, str) and (found := json.loads(message))["kind"] == "state" and wanted(found):
            return found  # type: ignore[no-any-return]
    raise AssertionError("no such state came")


def picture(client: ClientConnection, kind: str = "frame") -> dict[str, Any]:
    """The facts of the next picture of this kind."""
    while True:
        message = client.recv(timeout=PATIENCE)
        if isinstance(message, bytes) and (facts := unpack(message)[0])["kind"] == kind:
            return facts


def heard(client: ClientConnection) -> None:
    """Wait until everything that this client has said was heard: the server answers one message after another."""
    say(client, "look", tick=0)
    picture(client, "past")


def status(host: Host, path: str, **headers: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{host.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        return fault.code


def refused(host: Host, **more: Any) -> int:
    with pytest.raises(InvalidStatus) as found:
        opened(host, **more)
    return int(found.value.response.status_code)


def test_only_who_knows_the_token_gets_in(tmp_path: Path) -> None:
    with served(tmp_path) as (_, host):
        assert status(host, f"/?token={host.token}") == 200
        assert status(host, "/live.js") == 200
        for path in ("/", "/?token=", "/?token=x", f"/?token={host.token}x", "/socket"):
            assert status(host, path) == 403
        for path in ("/../host.py", "/page/live.js", "/etc/passwd", "/live.js/..", "//live.js"):
            assert status(host, path) == 404
        assert status(host, f"/?token={host.token}", Host="evil.example:80") == 403
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{host.port}/socket?token=wrong", open_timeout=PATIENCE)
        assert refused(host, origin="http://evil.example") == 403
        assert refused(host, origin="null") == 403
        assert refused(host, origin=f"http://localhost:{host.port}") == 403  # another site to a browser
        opened(host, origin=f"http://127.0.0.1:{host.port}").close()


def test_a_tunnel_with_another_port_works(tmp_path: Path) -> None:
    """ssh -L 9000:localhost:PORT: the browser's origin and host both say 9000."""
    with served(tmp_path) as (_, host):
        raw = socket.create_connection(("127.0.0.1", host.port))
        place = f"ws://localhost:9000/socket?token={host.token}"
        more: dict[str, Any] = {"sock": raw, "origin": "http://localhost:9000", "open_timeout": PATIENCE}
        with connect(place, compression=None, **more) as client:
            assert state(client)["controls"] == "you"


def test_one_plays_and_the_others_watch(tmp_path: Path) -> None:
    with served(tmp_path) as (played, host), opened(host) as first:
        assert state(first)["controls"] == "you"
        with opened(host) as second:
            assert state(second)["controls"] == "other"
            say(second, "finish")
            say(second, "control")
            say(second, "input", down=["KeyW"], pressed=[], dx=1, dy=0, wheel=0)
            refusals = 0
            while refusals < 2:
                message = second.recv(timeout=PATIENCE)
                refusals += isinstance(message, str) and json.loads(message) == {"kind": "refused", "text": "watching"}
            say(first, "take_over")
            state(first, lambda found: found["who"] == "person")
            say(first, "input", down=["KeyW"], pressed=["KeyW"], dx=0, dy=0, wheel=0)
            played.until(lambda: "forward" in played.session.screen.view.facts["pressed"])  # type: ignore[union-attr]
            first.close()
            found = state(second, lambda found: found["paused"] and found["controls"] == "nobody")
            assert found["who"] == "person"
            assert played.session.person.take()["forward"] == 0
            say(second, "control")
            state(second, lambda found: found["controls"] == "you")
            say(second, "resume")
            state(second, lambda found: not found["paused"])


def test_what_a_scripted_person_sends_is_what_is_recorded(tmp_path: Path) -> None:
    """Through the socket, with a frame's way there and back."""
    moves = np.random.default_rng(1).integers(-60, 60, (40, 2)).tolist()
    with served(tmp_path, weights=False, rate=20.0) as (played, host), opened(host) as client:
        state(client)
        say(client, "record")
        state(client, lambda found: found["recording"])
        for dx, dy in moves:
            say(client, "input", down=["Mouse0"], pressed=[], dx=dx, dy=dy, wheel=0)
            heard(client)
            after = played.session.screen.tick
            while picture(client)["tick"] <= after:
                pass
        say(client, "input", down=[], pressed=[], dx=0, dy=0, wheel=0)
        while picture(client)["pressed"]:
            pass
        say(client, "stop")
        state(client, lambda found: not found["recording"] and found["takes"])
        # What is said before a tick is in the picture after it.
        say(client, "pause")
        state(client, lambda found: found["paused"])
        stopped = played.session.screen.tick
        for tick in range(stopped + 1, stopped + 6):
            say(client, "input", down=["Mouse0"], pressed=[], dx=40, dy=-20, wheel=0)
            say(client, "step")
            while (found := picture(client))["tick"] < tick:
                pass
            assert (found["tick"], found["pressed"], found["camera"]) == (tick, ["attack"], [-3.0, 6.0])
    ticks = lines(tmp_path, "dig_dirt-0000")
    assert [sum(tick["mouse"][name] for tick in ticks) for name in ("dx", "dy")] == [sum(way) for way in zip(*moves)]
    assert sum(tick["mouse"]["buttons"] == [0] for tick in ticks) >= 38


def test_a_killed_tab_leaves_no_button_down(tmp_path: Path) -> None:
    with served(tmp_path, weights=False) as (played, host):
        client = opened(host)
        state(client)
        say(client, "input", down=["KeyW", "Mouse0"], pressed=["KeyW"], dx=0, dy=0, wheel=0)
        played.until(lambda: "attack" in played.session.screen.view.facts["pressed"])  # type: ignore[union-attr]
        client.socket.shutdown(socket.SHUT_RDWR)
        played.until(lambda: played.session.screen.state["paused"])
        assert not any(value == 1 for value in played.session.person.take().values())


def test_a_slow_client_loses_frames_and_the_record_none(tmp_path: Path) -> None:
    with served(tmp_path, rate=200.0) as (played, host), opened(host, max_queue=1) as slow:
        state(slow)
        say(slow, "record")
        played.until(lambda: (played.session.recorder.ticks or 0) >= 400)  # nobody reads
        seen: list[int] = []
        while not seen or seen[-1] < 400:
            message = slow.recv(timeout=PATIENCE)
            if isinstance(message, bytes):
                seen.append(unpack(message)[0]["tick"])
        assert seen == sorted(set(seen))
        assert max(np.diff(seen)) > 1
        say(slow, "stop")
        played.until(lambda: played.session.recorder.ticks is None)
    numbers = [tick["tick"] for tick in lines(tmp_path, "dig_dirt-0000")]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 400


def test_a_client_is_sent_h264_when_it_asks_for_it(tmp_path: Path) -> None:
    """Every frame that comes decodes, also where frames were missed, and a new client begins at a key frame."""
    with served(tmp_path, rate=100.0) as (_, host), opened(host) as client, opened(host) as watcher:

        def pictures(reader: ClientConnection, count: int, pause: float = 0.0) -> list[tuple[dict[str, Any], bytes]]:
            found: list[tuple[dict[str, Any], bytes]] = []
            while len(found) < count:
                if isinstance(message := reader.recv(timeout=PATIENCE), bytes):
                    found.append(unpack(message))
                    time.sleep(pause)
            return found

        assert all(body.startswith(b"\xff\xd8") for _, body in pictures(client, 3))
        for reader, pause in ((client, 0.03), (watcher, 0.0)):
            say(reader, "video", on=True)
            while "codec" not in (first := pictures(reader, 1)[0])[0]:
                pass
            assert first[0]["key"]
            rest = pictures(reader, 20, pause)
            assert not any(header["key"] for header, _ in rest)
            decoder = av.CodecContext.create("h264", "r")
            for _, body in (first, *rest):
                (picture,) = decoder.decode(av.Packet(body))  # type: ignore[union-attr]
                assert picture.width == 224
        say(client, "video", on=True)
        while not pictures(client, 1)[0][0].get("key"):
            pass
        say(client, "video", on=False)
        while "codec" in pictures(client, 1)[0][0]:
            pass
        say(client, "video", on=1)
        while True:
            if isinstance(message := client.recv(timeout=PATIENCE), str) and json.loads(message)["kind"] == "refused":
                break


def test_only_some_clients_are_sent_h264(tmp_path: Path) -> None:
    with served(tmp_path, rate=50.0) as (_, host), contextlib.ExitStack() as held:
        clients = [held.enter_context(opened(host)) for _ in range(MOST_STREAMS + 1)]
        for client in clients:
            say(client, "video", on=True)
            heard(client)  # before the next one asks
        kinds = ["codec" in picture(client) for client in clients]
        assert kinds == [True] * MOST_STREAMS + [False]


def test_garbage_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    rng = random.Random(0)
    with served(tmp_path, rate=20.0) as (played, host), opened(host) as good:
        state(good)
        for kind in range(6):
            with contextlib.suppress(TimeoutError):  # a client that does not read would not answer pings either
                while True:
                    good.recv(timeout=0)
            with contextlib.suppress(ConnectionClosed, OSError):
                bad = opened(host, close_timeout=1)
                for _ in range(30):
                    message: Any = rng.choice(
                        [
                            rng.randbytes(rng.randrange(200)),
                            "x" * rng.randrange(9000),
                            '{"do":"pause","x":1}',
                            "[" * 5000,
                        ]
                    )
                    bad.send(message)
                if kind % 2 == 0:
                    bad.socket.close()
                    continue
                while True:  # until it is sent away
                    bad.recv(timeout=PATIENCE)
            if kind % 2:
                assert bad.protocol.close_code in (1003, 1008, 1009)
        raw = [socket.create_connection(("127.0.0.1", host.port)) for _ in range(40)]
        for each in raw:
            each.send(rng.randbytes(100))
            each.close()
        say(good, "prompt", text="explore")
        state(good, lambda found: found["prompt"] == "explore")
        played.ticks(5)


def test_a_flood_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All in one moment, however long it takes to send.
    monkeypatch.setattr(live_host, "time", SimpleNamespace(monotonic=lambda: 0.0))
    with served(tmp_path, rate=20.0) as (_, host):
        flood = opened(host)
        with pytest.raises(ConnectionClosed):
            for _ in range(3 * RATE):
                flood.send('{"do":"control"}')
                with contextlib.suppress(TimeoutError):
                    flood.recv(timeout=0)
            while True:  # until the server has come to them
                flood.recv(timeout=PATIENCE)
        assert flood.protocol.close_code == 1008


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of a thousand connections; many systems begin with 1024 open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 4096:
        pytest.skip("no more than 4096 files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, before[0]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_connections(tmp_path: Path, many_files: None) -> None:
    with served(tmp_path, rate=20.0) as (played, host), opened(host) as good:
        state(good)
        say(good, "pause")
        held = [opened(host) for _ in range(MOST_CLIENTS - 1)]
        assert refused(host) == 503
        raw = [socket.create_connection(("127.0.0.1", host.port)) for _ in range(1000)]
        for number, each in enumerate(raw):
            with contextlib.suppress(OSError):  # it came so late that the server did not wait
                each.send(b"GET / HTTP/1.1\r\n"[: number % 17])
        say(good, "prompt", text="explore")
        state(good, lambda found: found["prompt"] == "explore")
        for each in (*raw, *held):
            each.close()
        say(good, "resume")
        played.ticks(5)
        opened(host).close()


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with served(tmp_path) as (played, host):
        with pytest.raises(UserError, match="uses this port") as found:
            Host(SessionPage(played.session), port=host.port).start()
        assert f"--port {host.port + 1}" in str(found.value)
        for none in (-1, 65536):
            with pytest.raises(UserError, match="not a port"):
                Host(SessionPage(played.session), port=none).start()
    with pytest.raises(UserError, match="cannot use this address"):
        Host(SessionPage(played.session), host="192.0.2.1", port=0).start()
