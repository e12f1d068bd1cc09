"""Sessions over a fake game, run in a thread, and what looks at their recordings."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from steve1 import actions
from steve1.core.errors import UserError
from steve1.evaluation.tasks.suite import Suite, load_suite
from steve1.live.goals import LiveGoals
from steve1.live.inputs import PersonInput
from steve1.live.prompts import PromptSource
from steve1.live.session import Session, SessionSettings
from steve1.rollout.supervise import SupervisedEnv
from tests.rollout.fakes import FakeEnv, fake_starts

Starts = Callable[[str, str, str], list[dict[str, Any]]]
#: what the fake agent does under the goal of each prompt
CHOICES = {"dig dirt": "attack", "explore": "forward", "build a pillar": "jump"}


class Encoder:
    """Prompts as one-hot goals; `no such files` has none."""

    no_goal = np.zeros(4, np.float32)

    def encode(self, prompts: list[str], *, seed: int = 0) -> dict[str, Any]:
        if prompts[0] == "no such files":
            raise UserError("The MineCLIP weights were not found.")
        english, _ = self.reading(prompts[0])
        place = list(CHOICES).index(english) if english in CHOICES else 3
        return {prompts[0]: np.eye(4, dtype=np.float32)[place]}

    def reading(self, prompt: str) -> tuple[str, list[str]]:
        english = {"挖泥土": "dig dirt"}.get(prompt, prompt)
        notes = [f"“{prompt}” is read as “{english}”"] if english != prompt else []
        return english, notes if english.isascii() else [f"“{prompt}” cannot be read"]

    def cut_short(self, english: str) -> list[str]:
        return ["too long"] if len(english) > 100 else []


class Agent:
    """Presses what its goal says, and turns by a camera bin's centre; notes what it saw."""

    cond_scale, temperature, guided, deterministic = 6.0, 1.0, True, False

    def __init__(self) -> None:
        self.seen, self.resets = 0, 0

    def reset(self, seed: int | None = None) -> None:
        self.resets += 1

    def act(self, frame: Any, goal: Any) -> dict[str, Any]:
        self.seen += 1
        action = actions.null_action()
        action["camera"] = [0.0, 0.62]
        if goal.any():
            action[[*CHOICES.values(), "use"][int(np.argmax(goal))]] = 1
        return action


class Played:
    """A session that runs in a thread."""

    def __init__(self, session: Session, agent: Agent | None, ticks: int = 0) -> None:
        self.session, self.agent, self.fault, self._ticks = session, agent, None, ticks  # type: ignore[var-annotated]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.session.run(self._ticks)
        except BaseException as fault:
            self.fault = fault

    def do(self, name: str, **more: Any) -> None:
        """A command of the page."""
        self.session.post({"do": name, **more})

    def until(self, what: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait for something."""
        limit = time.monotonic() + seconds
        while True:
            alive = self._thread.is_alive()  # before a look at what it may have done last of all
            if found := what():
                return found
            assert time.monotonic() < limit, f"waited for {seconds} s; {self.session.screen.state}"
            assert alive, self.fault
            time.sleep(0.002)

    def ticks(self, count: int) -> None:
        """Let this many whole ticks pass: the one under way may have read its inputs already, so it does not count."""
        until = self.session.screen.tick + count + (count > 0)
        self.until(lambda: self.session.screen.tick >= until)

    def kinds(self) -> list[str]:
        """What has happened."""
        return [event["kind"] for event in list(self.session.screen.events)]

    def end(self) -> None:
        """Finish, and wait for it."""
        self.do("finish")
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()


def suite() -> Suite:
    return load_suite("luanti")


def session_of(
    folder: Path, env: Callable[[], Any] = FakeEnv, *, starts: Starts = fake_starts, prompt: str = "dig dirt", rate: float = 400.0, **more: Any,
) -> Session:  # fmt: skip
    """A session over a game, with its own files and its recordings below `folder`."""
    settings = SessionSettings(
        env="luanti", title="fake", folder=folder / "session", recordings=folder / "takes", starts=lambda biome: starts("luanti", biome, "demo"),
    )  # fmt: skip
    return Session(settings, SupervisedEnv(env), suite(), prompt=prompt, rate=rate, **more)


@contextlib.contextmanager
def playing(
    folder: Path, *, weights: bool = True, prompt: str = "dig dirt", rate: float = 400.0, env: Callable[[], Any] = FakeEnv,
    source: PromptSource | None = None, arrived: bool = True, starts: Starts = fake_starts, ticks: int = 0,
) -> Iterator[Played]:  # fmt: skip
    """A session whose game waits for nobody, unless `arrived` is False; finished at the end.

    For who plays no time passes: what is held is not let go where the machine is too busy to say so in time.
    """
    agent = Agent() if weights else None
    goals = LiveGoals(Encoder(), compare=False) if weights else None  # type: ignore[arg-type]
    session = session_of(folder, env, starts=starts, prompt=prompt, rate=rate, agent=agent, goals=goals, source=source)
    session.person = PersonInput(lambda: 0.0)
    if arrived:
        session.arrived()
    played = Played(session, agent, ticks)
    try:
        yield played
    finally:
        played.end()


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """The ticks of a recording."""
    return [json.loads(line) for line in (folder / "takes" / f"{name}.jsonl").read_text().splitlines()]


def options(folder: Path, name: str) -> dict[str, Any]:
    """A recording's options."""
    found: dict[str, Any] = json.loads((folder / "takes" / f"{name}-options.json").read_text())
    return found
