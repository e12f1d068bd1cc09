"""A session: a game that goes on at 20 ticks a second while a policy or a person acts, and the page's commands are obeyed between ticks.

A tick: the frame is seen (by the policy always, so that it knows where it is when it is given back control), an action is taken,
recorded and played. Nothing waits for the page: a slow browser misses frames, a recording misses none. A late tick is not made up for
by two at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from steve1 import actions
from steve1.agent import Agent
from steve1.core.errors import UserError
from steve1.core.messages import language, message
from steve1.core.processes import forget_lost_terminal, handling
from steve1.data.recordings.contractor import PERSON, POLICY
from steve1.data.recordings.shards import alone_in
from steve1.envs.interface import FPS, Action, Env, Info, Observation
from steve1.envs.registry import GAMES
from steve1.evaluation.tasks.suite import Suite, Task
from steve1.live.goals import EncodedPrompt, LiveGoals
from steve1.live.inputs import PersonInput
from steve1.live.prompts import PromptSource
from steve1.live.protocol import Command
from steve1.live.recorder import Kept, Recorder
from steve1.live.screen import Screen
from steve1.rollout.record import with_pointer
from steve1.rollout.supervise import GAME_FAULTS, SupervisedEnv

_IDLE_S = 0.05


@dataclasses.dataclass(frozen=True)
class SessionSettings:
    """What a session is about.

    Attributes:
        env: the game's name.
        title: the weights', or the game's.
        folder: of the session's own files: its events and films.
        recordings: where recordings go.
        starts: where worlds begin, in turns.
        biome: of prompts that belong to no task.
        seed: of the first world, and which of the places it is; the next ones have seed + 1, ...
        facts: noted in recordings, such as the weights.
        options: further reset options of each world.
    """

    env: str
    title: str
    folder: Path
    recordings: Path
    starts: Callable[[str], list[dict[str, Any]]]
    biome: str = "meadow"
    seed: int = 0
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Session:
    """Runs in the thread that calls `run`; `post`, `arrived` and `left` may be called from any other.

    Args:
        game: opened when the session runs, and again when it dies.
        suite: its tasks judge recordings.
        agent, goals: of the policy; None: only a person acts.
        prompt: the first, also that of `source`.
        source: decides further prompts; None: the page alone does.
        film: film it from the beginning.
        rate: ticks a second.

    Attributes:
        screen: what there is to see.
        person: what the person at the page does.
        recorder: what is kept of it.
    """

    def __init__(
        self, settings: SessionSettings, game: SupervisedEnv, suite: Suite, *, agent: Agent | None = None,
        goals: LiveGoals | None = None, prompt: str = "", source: PromptSource | None = None, film: bool = False, rate: float = FPS,
    ) -> None:  # fmt: skip
        self.settings, self.screen, self.person = settings, Screen(), PersonInput()
        facts = {"env": settings.env, **settings.facts}
        self.recorder = Recorder(settings.folder, settings.recordings, settings.title, facts, self.screen)
        self._game, self._suite, self._agent, self._goals, self._source = game, suite, agent, goals, source
        self._period, self._speed = 1.0 / rate, 1.0
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._prompt, self._note, self._goal = "", "", None if goals is None else goals.no_goal
        self._first_prompt, self._task = prompt, suite.by_prompt(prompt)
        self.screen.who = PERSON if agent is None else POLICY
        self._world, self._film_from_start = 0, film
        self._now: tuple[Observation, Info]
        self._waiting, self._paused, self._once, self._finished, self._last_tick = True, False, False, False, 0
        self._handlers: dict[str, Callable[[Command], None]] = {
            "prompt": lambda command: self._ask(command["text"].strip()),
            "guidance": self._set_guidance, "temperature": self._set_temperature, "speed": self._set_speed,
            "take_over": lambda _: self._act(PERSON), "hand_back": lambda _: self._act(POLICY),
            "arrive": lambda _: self._arrive(), "leave": lambda _: self._leave(), "record": lambda _: self._record(), "stop": lambda _: self.recorder.keep(), "discard": lambda _: self.recorder.discard(),
            "redo": lambda _: self._redo(), "pause": lambda _: self._pause(True), "resume": lambda _: self._pause(False),
            "step": lambda _: self._step_once(), "reset_agent": lambda _: self._reset_agent(),
            "reset_world": lambda _: self._reset_world(), "film": lambda _: self.recorder.film(self._prompt), "finish": lambda _: self._finish(),
        }  # fmt: skip

    # ---- from other threads ----

    def post(self, command: Command) -> None:
        """Obey this command between two ticks."""
        self._commands.put(command)

    def arrived(self) -> None:
        """Somebody is at the controls: the game begins, if it waited for that."""
        self.post({"do": "arrive"})

    def left(self) -> None:
        """Nobody is at the controls any more: everything is let go, and the game pauses, unless it waits for no page."""
        self.person.release()
        self.post({"do": "leave"})

    # ---- the loop ----

    def run(self, ticks: int = 0) -> list[Kept]:
        """Play until the page says finish, Ctrl-C, SIGTERM, or the terminal is closed; the recordings that were kept.

        Args:
            ticks: end after this many, and wait for no page.

        Raises:
            UserError: the game does not start, or died too often; another session has the same folder.
        """
        self._last_tick, self._waiting = ticks, self._waiting and not ticks
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        self.settings.recordings.mkdir(parents=True, exist_ok=True)
        with alone_in(self.settings.folder, work="live"):  # its films would replace the other's
            return self._run()

    def _run(self) -> list[Kept]:
        self.screen.open_log(self.settings.folder / "session.jsonl")
        if self._film_from_start:
            self.recorder.film(self._first_prompt)
        with _ended_by_signals():
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    self._game.episode(self._play)
            finally:
                for finish in (self.recorder.keep, self.recorder.end_film):
                    with contextlib.suppress(KeyboardInterrupt):  # a second one, which has waited
                        finish()
                self.screen.event("finished")
                self._publish()
                self.screen.close()
                self._game.close()
                if self._goals is not None:
                    self._goals.close()
        return self.recorder.kept

    def _play(self, env: Env) -> None:
        self._env = env
        env.draw_pointer = False  # recordings have none; it is drawn for those who look
        try:
            self._reset_world(begin=True)
            self._due = time.perf_counter()
            while not (self._finished or self.screen.tick >= self._last_tick > 0):
                self._obey()
                if (self._paused or self._waiting) and not self._once:
                    time.sleep(_IDLE_S if self._commands.empty() else 0)
                    self._due = time.perf_counter()
                else:
                    self._once = False
                    self._wait()
                    self._step()
        except GAME_FAULTS as fault:
            self.screen.event("died", next(iter(str(fault).splitlines()), type(fault).__name__))
            self.screen.notice("error", message("live game died"))
            self.recorder.keep()
            self._publish()  # a new game takes its time to start
            raise

    def _wait(self) -> None:
        """Until the tick is due."""
        now = time.perf_counter()
        if now < self._due:
            time.sleep(self._due - now)
            now = time.perf_counter()
        self.screen.late(now - self._due)
        period = self._period / self._speed
        self._due = self._due + period if now - self._due < period else now + period

    def _obey(self) -> None:
        changed = self.screen.changed
        while not self._commands.empty():
            command = self._commands.get()
            changed = True
            try:
                self._handlers[command["do"]](command)
            except UserError as fault:
                self.screen.notice("error", fault.one_line)
            except GAME_FAULTS:
                raise
            except OSError as fault:  # a recording or film that cannot begin
                self.screen.notice("error", f"{message('live recording failed')} ({fault.strerror or fault})")
        found = self._goals.ready() if self._goals else None
        if self._goals is not None and (why := self._goals.why_stopped()):
            self.screen.notice("note", why)
            changed = True
        if found is not None:
            self._encoded(found)
        if changed or found is not None:
            self._publish()

    def _step(self) -> None:
        obs, info = self._now
        seen = self._seen
        proposal = actions.null_action()
        if self._agent is not None:
            proposal = self._agent.act(seen["pov"], self._goal)
        if self._goals is not None:
            self._goals.see(seen["pov"])
        by_person = self.screen.who == PERSON
        action = self.person.take(int(obs.get("hotbar", 0)), GAMES[self.settings.env].hotbar)
        if not by_person:
            action = proposal
        action = self.recorder.before(obs, info, seen, action, self.screen.who)
        after, reward, died, ended, info = self._env.step(action)
        self._observe(after, info)
        self.screen.tick += 1
        self.recorder.after(action, after, info, float(reward))
        self._show(action, proposal if by_person and self._agent is not None else None)
        if not died:
            self._follow_source(lambda source: source.step(action, *self._now))
        if died or ended:
            self.screen.event("ended")
            self.screen.notice("note", message("live player died" if died else "live episode ended"))
            self._reset_world()

    def _follow_source(self, ask: Callable[[PromptSource], str | None]) -> None:
        """Ask the source for a prompt; one that fails is not asked again, and the present prompt stays."""
        if self._source is None:
            return
        try:
            prompt = ask(self._source)
        except UserError as fault:
            self.screen.notice("error", fault.one_line)
            self._source = None
            return
        if prompt is not None:
            self._ask(prompt)

    # ---- commands ----

    def _ask(self, prompt: str) -> None:
        """Encode a prompt; the goal changes between two ticks, once it is ready. Without a policy there is nothing to encode."""
        if not prompt:
            return
        if self._goals is None:
            self._encoded(EncodedPrompt(prompt, None))
        else:
            self._goals.ask(prompt)

    def _encoded(self, found: EncodedPrompt) -> None:
        if found.fault:
            self.screen.notice("error", found.fault)
            return
        changed = found.prompt != self._prompt
        self._prompt, self._note, self._task = found.prompt, found.note, self._suite.by_prompt(found.prompt)
        self._goal = found.goal
        self.screen.event("prompt", found.prompt)
        if found.note:
            self.screen.notice("note", found.note)
        self.recorder.ask(found.prompt)
        # Begun under the earlier prompt, with no tick played yet: it is a recording of this one.
        if changed and self.recorder.ticks == 0:
            self.recorder.discard()
            self.post({"do": "record"})

    def _set_guidance(self, command: Command) -> None:
        if self._agent is not None and self._agent.guided:
            self._agent.cond_scale = float(command["value"])

    def _set_temperature(self, command: Command) -> None:
        if self._agent is not None:
            self._agent.temperature = float(command["value"])

    def _set_speed(self, command: Command) -> None:
        self._speed = float(command["value"])

    def _act(self, who: str) -> None:
        if who == self.screen.who or (who == POLICY and self._agent is None):
            return
        self.screen.who = who
        self.person.release()
        self.screen.event("take_over" if who == PERSON else "hand_back")

    def _arrive(self) -> None:
        self._waiting = False

    def _leave(self) -> None:
        if not self._last_tick:
            self._pause(True)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        self.person.release()

    def _step_once(self) -> None:
        self._paused = self._once = True

    def _finish(self) -> None:
        self._finished = True

    def _reset_agent(self) -> None:
        if self._agent is not None:
            self._agent.reset()
            self.screen.event("reset_agent")

    def _reset_world(self, begin: bool = False, again: Mapping[str, Any] | None = None) -> None:
        """Another world; `begin`: the session's first, or the first of a new game; `again`: the one of these reset options."""
        self.recorder.keep()
        if again is None:
            # A source of prompts begins anew with each world.
            task = self._task if self._source is None else self._suite.by_prompt(self._first_prompt)
            options = task.reset_options() if task else {"biome": self.settings.biome}
            starts = self.settings.starts(options["biome"])
            again = {
                "seed": self.settings.seed + self._world,
                "options": {
                    **options,
                    **self.settings.options,
                    "start": starts[(self.settings.seed + self._world) % len(starts)],
                },
            }
            self._world += 1
        self._reset = again
        self._observe(*self._env.reset(seed=again["seed"], options=dict(again["options"])))
        self.person.release()
        if self._agent is not None:
            self._agent.reset(self.settings.seed if begin else None)
        if self._goals is not None:
            self._goals.restart()
        self.screen.event("world")
        if begin or self._source is not None:
            self._follow_source(lambda source: source.reset(*self._now))
            if self._source is None and begin:
                self._ask(self._prompt or self._first_prompt)
            if self._goals is not None and (found := self._goals.ready(wait=True)) is not None:
                self._encoded(found)
        self._show(actions.null_action(), None)
        self._publish()

    def _record(self) -> None:
        self.recorder.record(*self._now, self._prompt, self._task, dict(self._reset))

    def _redo(self) -> None:
        """Throw the present recording away, go back to where its world began, and record again."""
        self.recorder.discard()
        self._reset_world(again=self._reset)
        self._record()

    # ---- what there is to see ----

    def _observe(self, obs: Observation, info: Info) -> None:
        """The game's newest observation, also as policies and people see it: with the arrow of an open menu."""
        self._now, self._seen = (obs, info), with_pointer(obs, info)

    def _show(self, action: Action, proposal: Action | None) -> None:
        self.screen.show(
            self._seen["pov"],
            {
                "pressed": pressed(action),
                "camera": [round(float(value), 2) for value in action["camera"]],
                "proposal": None if proposal is None else pressed(proposal),
                "similarity": None if self._goals is None else self._goals.similarity,
                "recorded": self.recorder.ticks,
                "menu": bool(self._seen.get("is_gui_open")),
            },
        )

    def _publish(self) -> None:
        """The state that changes seldom."""
        agent, tasks = self._agent, self._suite.tasks.values()
        self.screen.set_state(
            {
                "kind": "state", "language": language(), "title": self.settings.title, "env": self.settings.env, "policy": agent is not None,
                "prompt": self._prompt, "note": self._note, "task": self._task_facts(self._task),
                "prompts": [{"task": task.name, **task.prompts} for task in tasks],
                "guidance": agent.cond_scale if agent and agent.guided else None, "temperature": agent.temperature if agent and not agent.deterministic else None,
                "who": self.screen.who, "paused": self._paused or self._waiting, "speed": self._speed,
                "recording": self.recorder.ticks is not None, "filming": self.recorder.filming, "takes": [kept.facts() for kept in self.recorder.kept], "events": list(self.screen.events),
                "notices": list(self.screen.notices),
            }
        )  # fmt: skip

    @staticmethod
    def _task_facts(task: Task | None) -> dict[str, str] | None:
        return (
            None
            if task is None
            else {"name": task.name, **{f"measure_{key}": text for key, text in task.measure_names.items()}}
        )


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM (a batch system, `docker stop`) and SIGHUP (a terminal or SSH that is gone) end the body as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # a recording is being finished
        if number == signal.SIGHUP:
            forget_lost_terminal()
        raise KeyboardInterrupt(signal.Signals(number))

    with handling(stop, *numbers):
        yield


def pressed(action: Action) -> list[str]:
    """The names of the pressed buttons."""
    return [name for name in actions.ENV_BUTTONS if action.get(name)]
