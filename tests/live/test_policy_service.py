"""Weights that play over a socket act as they do here, batched over games."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steve1.agent import Agent
from steve1.core.paths import ROOT
from steve1.evaluation.policies import PolicyCache, parse_policies
from steve1.goals import GoalEncoder
from steve1.live import host as live_host
from steve1.live import policy_service
from steve1.live.host import MOST_BAD, Host
from steve1.live.policy_service import PolicyService

websockets = pytest.importorskip("websockets", reason="websockets is not installed")
from steve1.live.client import PolicyServerError, RemotePolicy  # noqa: E402

pytestmark = pytest.mark.e2e
SPEC = parse_policies([str(ROOT / "data/mini/mini.weights")])[0]


def agent(seed: int = 0) -> Agent:
    metadata = SPEC.metadata
    return Agent(
        PolicyCache().policy(SPEC), cond_scale=metadata.cond_scale, temperature=metadata.temperature, seed=seed
    )


@contextlib.contextmanager
def serving() -> Iterator[tuple[PolicyService, Host]]:
    service = PolicyService(agent(), GoalEncoder(SPEC.metadata))
    with Host(service, port=0) as host:
        thread = threading.Thread(target=service.run, args=(host.call,))
        thread.start()
        try:
            yield service, host
        finally:
            service.stop()
            thread.join()


class Slow:
    """A server that answers with what it is given, or not in time; `closed`: the client has left."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.answers, self.closed = list(answers), False

    def send(self, message: str | bytes) -> None:
        assert not self.closed

    def recv(self, timeout: float) -> str:
        if (answer := self.answers.pop(0)) is None:
            raise TimeoutError("timed out in 0.1s")
        return json.dumps(answer)

    def close(self) -> None:
        self.closed = True


def test_an_answer_that_is_late_is_not_that_to_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Slow({"kind": "begun"}, None)
    monkeypatch.setattr("steve1.live.client.connect", lambda *_, **__: server)
    policy = RemotePolicy("http://x/?token=y")
    with pytest.raises(TimeoutError):
        policy.act(np.zeros((128, 128, 3), np.uint8))
    assert server.closed


def test_a_game_that_cannot_begin_leaves_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Slow({"kind": "refused", "text": "no such goal"})
    monkeypatch.setattr("steve1.live.client.connect", lambda *_, **__: server)
    with pytest.raises(PolicyServerError, match="no such goal"):
        RemotePolicy("http://x/?token=y", prompt="dig dirt")
    assert server.closed


@pytest.mark.parametrize("form", [((128, 128, 3), np.float32), ((128, 128), np.uint8), ((128, 128, 4), np.uint8)])
def test_a_frame_of_another_form_is_not_sent(monkeypatch: pytest.MonkeyPatch, form: tuple[Any, Any]) -> None:
    server = Slow({"kind": "begun"})
    monkeypatch.setattr("steve1.live.client.connect", lambda *_, **__: server)
    with pytest.raises(ValueError, match="uint8"):
        RemotePolicy("http://x/?token=y").act(np.ones(*form))


def frames(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 128, 128, 3), dtype=np.uint8)


def test_three_games_at_once_act_as_each_would_alone() -> None:
    goal = GoalEncoder(SPEC.metadata).encode(["dig dirt"])["dig dirt"]
    wanted, found = {}, {}
    for number in range(3):
        alone = agent()
        alone.reset(number)
        wanted[number] = [alone.act(frame, goal) for frame in frames(number, 6)]
    with serving() as (service, host):

        def game(number: int) -> None:
            with RemotePolicy(host.url, "dig dirt", seed=number) as policy:
                found[number] = [policy.act(frame) for frame in frames(number, 6)]
                assert set(policy.ms) == {"wait", "policy"}

        threads = [threading.Thread(target=game, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert service.answered == 18
        assert "policy" in service.latency()
    for number in range(3):
        for mine, its in zip(wanted[number], found[number]):
            assert {**its, "camera": list(its["camera"])} == {**mine, "camera": [float(v) for v in mine["camera"]]}


def test_a_goal_of_numbers_a_larger_frame_and_an_episode_that_begins_anew() -> None:
    goal = GoalEncoder(SPEC.metadata).encode(["explore"])["explore"]
    large = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    alone = agent()
    alone.reset(5)
    wanted = alone.act(large, goal)
    with serving() as (_, host), RemotePolicy(host.url, seed=5) as policy:
        for _ in range(2):
            found = policy.act(large, goal)
            assert found["camera"] == [float(value) for value in wanted["camera"]]
            assert found["forward"] == wanted["forward"]
            policy.reset()


def test_a_game_that_floods_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_service, "_RATE", 5)
    # All in one moment, however long the policy takes.
    monkeypatch.setattr(live_host, "time", SimpleNamespace(monotonic=lambda: 0.0))
    with serving() as (_, host), RemotePolicy(host.url, "dig dirt") as policy:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as found:
            for frame in frames(0, 30):
                policy.act(frame)
        assert found.value.rcvd.code == 1008
        with RemotePolicy(host.url, "dig dirt") as another:
            assert "camera" in another.act(frames(0, 1)[0])


def test_a_client_that_says_nothing_sensible_is_sent_away() -> None:
    with serving() as (_, host), RemotePolicy(host.url, "dig dirt") as policy:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as found:
            for _ in range(MOST_BAD + 1):
                with pytest.raises(PolicyServerError):
                    policy._ask("{}")
        assert found.value.rcvd.code == 1003


def test_a_server_that_ends_leaves_no_game_waiting() -> None:
    """As at Ctrl-C: nobody computes any more, and a frame still waits."""
    service = PolicyService(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    with Host(service, port=0) as host, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(RemotePolicy, host.url, "dig dirt", timeout_s=120)
        assert service._jobs.get(timeout=120).begin is not None  # type: ignore[union-attr]
        host.close()
        assert not host._thread.is_alive()
        with pytest.raises(websockets.exceptions.ConnectionClosedOK):
            begun.result()


def test_what_is_wrong_is_refused_and_the_next_one_served() -> None:
    with serving() as (_, host):
        with pytest.raises(PolicyServerError, match="does not fit the policy"):
            RemotePolicy(host.url).act(frames(0, 1)[0], np.zeros(3))
        with RemotePolicy(host.url, "dig dirt") as policy:
            for bad in (b"", b"\x00\x00\x00\x02{}", b"\xff" * 10, json.dumps({"do": "begin"})):
                with pytest.raises(PolicyServerError):
                    policy._ask(bad)
            with pytest.raises(PolicyServerError, match="bytes, not"):
                head = json.dumps({"width": 128, "height": 128}).encode()
                policy._ask(len(head).to_bytes(4, "big") + head + b"xx")
            assert "camera" in policy.act(frames(0, 1)[0])
