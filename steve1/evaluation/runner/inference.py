"""One process that holds the policies and serves the games of all workers, several frames at a time.

Input: frames of the policy's size over a local socket.
Output: actions, sampled with the same generators and from the same distributions (within rounding) as in a worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Client, Connection, Listener, Pipe, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.processes import end_tree, limit_threads
from steve1.core.seeds import integer
from steve1.evaluation.policies import Goal, PolicyCache, PolicySpec, required_goal
from steve1.rollout.play import Action, Actor, Info, Observation

_log = logging.getLogger(__name__)
# Games that step in turn arrive a little apart; waiting this long for the others costs less than a pass without them.
_GATHER_S = 0.002
_START_S = 120.0


@dataclasses.dataclass
class _Episode:
    """What the service knows of the game behind one connection; `frame` u8 (H, W, 3) waits for an action."""

    slot: int
    policy: PolicySpec | None = None
    goal: Goal | None = None
    frame: NDArray[np.uint8] | None = None


class _Service:
    """The serving process's state: policies by name, an episode for each connection."""

    def __init__(self, policies: Mapping[str, PolicySpec], cache: PolicyCache) -> None:
        self.policies, self.cache = policies, cache
        self.episodes: dict[Connection, _Episode] = {}

    def join(self, pipe: Connection) -> None:
        """Give a new connection the lowest free slot of the agents."""
        taken = {episode.slot for episode in self.episodes.values()}
        self.episodes[pipe] = _Episode(next(slot for slot in range(len(taken) + 1) if slot not in taken))

    def take(self, pipe: Connection) -> None:
        """One message: ("check" | "begin", policy, goal, seed) is answered; ("act", frame) waits for `step`."""
        episode = self.episodes[pipe]
        try:
            kind, *rest = pipe.recv()
        except (EOFError, ConnectionError):
            self.episodes.pop(pipe)
            pipe.close()
            return
        if kind == "act":
            episode.frame = rest[0]
            return
        try:
            name, goal, seed = rest
            spec = self.policies[name]
            agent = self.cache.agent(spec)
            episode.goal = required_goal(goal, spec)
            if kind == "begin":
                episode.policy, episode.frame = spec, None
                agent.reset(integer(seed, "agent"), [episode.slot])
                agent.reset(games=[episode.slot])  # as GoalActor does at the start of an episode
            answer: Any = ("ok", None)
        except UserError as fault:
            answer = ("user", fault)
        self._answer(pipe, answer)

    def _answer(self, pipe: Connection, answer: Any) -> None:
        try:
            pipe.send(answer)
        except ConnectionError:
            # Its worker was killed while it waited; the next `recv` finds the end and frees the slot.
            _log.warning("a worker went away before its answer")

    def step(self) -> None:
        """Answer everyone who waits for an action, policy by policy."""
        groups: dict[str, list[tuple[Connection, _Episode]]] = {}
        for pipe, episode in self.episodes.items():
            if episode.frame is not None:
                assert episode.policy is not None
                groups.setdefault(episode.policy.name, []).append((pipe, episode))
        for name, members in groups.items():
            frames = [episode.frame for _, episode in members if episode.frame is not None]
            goals = [episode.goal for _, episode in members]
            slots = [episode.slot for _, episode in members]
            chosen = self.cache.agent(self.policies[name]).act_batch(frames, goals, slots)
            for (pipe, episode), action in zip(members, chosen, strict=True):
                episode.frame = None
                self._answer(pipe, ("ok", action))

    def serve(self, listener: Listener, parent: Connection) -> None:
        """Answer until the parent says so or is gone."""
        arrivals, wake = Pipe(duplex=False)
        fresh: list[Connection] = []
        threading.Thread(target=_accept, args=(listener, fresh, wake), daemon=True).start()
        while True:
            waiting = any(episode.frame is not None for episode in self.episodes.values())
            ready = wait([parent, arrivals, *self.episodes], _GATHER_S if waiting else None)
            if parent in ready:
                return
            if arrivals in ready:
                arrivals.recv()
                self.join(fresh.pop(0))
            for pipe in ready:
                if isinstance(pipe, Connection) and pipe in self.episodes:
                    self.take(pipe)
            frames = [episode.frame for episode in self.episodes.values() if episode.policy is not None]
            if not ready or all(frame is not None for frame in frames):
                self.step()


def _accept(listener: Listener, fresh: list[Connection], wake: Connection) -> None:
    """Accept connections, in a thread that ends with the process."""
    while True:
        try:
            fresh.append(listener.accept())
        except (EOFError, ConnectionError, multiprocessing.AuthenticationError) as fault:
            _log.warning("a connection to the policies failed: %s", fault)
            continue
        wake.send(True)


def _run(
    address: str, policies: Mapping[str, PolicySpec], cache: PolicyCache, threads: int, parent: Connection
) -> None:
    limit_threads(threads)
    with Listener(address, "AF_UNIX", backlog=64) as listener:
        parent.send("ready")
        with contextlib.suppress(KeyboardInterrupt):
            _Service(policies, cache).serve(listener, parent)


@contextlib.contextmanager
def policy_service(policies: Mapping[str, PolicySpec], cache: PolicyCache, threads: int = 1) -> Iterator[str]:
    """Start a process that loads these policies into `cache`; yields the address for `RemotePolicyCache`; ends it at the end."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="steve1-") as folder:
        address = str(Path(folder) / "policies")
        ours, theirs = context.Pipe()
        process = context.Process(target=_run, args=(address, policies, cache, threads, theirs))
        process.start()
        theirs.close()
        try:
            started = False
            with contextlib.suppress(EOFError):
                started = ours.poll(_START_S) and ours.recv() == "ready"
            if not started:
                raise UserError(
                    "The process that holds the policies did not start.",
                    todo="look at what it printed above; or run without --batched",
                )
            yield address
        finally:
            with contextlib.suppress(OSError):
                ours.send("end")
            process.join(10)
            if process.is_alive() and process.pid is not None:
                end_tree(process.pid)
                process.join(5)
            ours.close()


class RemotePolicyCache(PolicyCache):
    """Actors whose policies live in the serving process; those without a policy act here."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._pipe: Connection | None = None

    def ask(self, *message: Any) -> Any:
        """Send a message and return the answer's content.

        Raises:
            UserError: the service says so, or it is gone.
        """
        try:
            self._pipe = self._pipe or Client(self._address, "AF_UNIX")
            self._pipe.send(message)
            kind, content = self._pipe.recv()
        except (EOFError, OSError) as fault:
            raise UserError(
                "The process that holds the policies has ended.",
                where=self._address,
                got=f"{type(fault).__name__}: {fault}",
                todo="finished episodes are kept; the same command continues, if need be without --batched",
            ) from fault
        if kind == "user":
            raise content
        return content

    def prepare(self, spec: PolicySpec, goal: Goal | None) -> None:
        """Have the service load the policy and check the goal."""
        if spec.kind == "weights":
            self.ask("check", spec.name, goal, 0)

    def actor(self, spec: PolicySpec, goal: Goal | None, seed: int, behaviour: str = "") -> Actor:
        """As `PolicyCache.actor`."""
        if spec.kind != "weights":
            return super().actor(spec, goal, seed, behaviour)
        return RemoteActor(self.ask, (spec.name, goal, seed))

    def close(self) -> None:
        """Leave the service."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


class RemoteActor(Actor):
    """Asks the service for each action."""

    def __init__(self, ask: Callable[..., Any], episode: tuple[str, Goal | None, int]) -> None:
        self._ask, self._episode = ask, episode

    def reset(self, obs: Observation, info: Info) -> None:
        """Begin an episode: the service forgets the last one."""
        self._ask("begin", *self._episode)

    def act(self, obs: Observation, info: Info) -> Action:
        """The action for this observation; the frame is reduced here, as the agent would, before it travels."""
        action: Action = self._ask("act", agent_frame(obs["pov"]))
        return action
