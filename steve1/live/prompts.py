"""Who decides what the policy is asked for next: a chain of prompts with conditions, or a program (a planner).

Input: a YAML file or a typed list, a Python function, or a command that reads events and writes prompts as JSON lines.
Output: at each step None, or the prompt from now on. `PromptedActor` plays them without a browser.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
import importlib.util
import json
import queue
import shlex
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.paths import display, resolve
from steve1.core.processes import end
from steve1.core.reading.contents import read_yaml
from steve1.envs.interface import Action, Info, Observation
from steve1.evaluation.tasks.rules import Condition, parse_condition
from steve1.evaluation.tasks.suite import Suite
from steve1.goals import Goal
from steve1.prompts import split_prompts
from steve1.rollout.play import Actor, PixelAgent
from steve1.rollout.trace import TraceRecorder

#: steps between two looks at a condition, and between two events for a planner: half a second, a second
CHECK_EVERY, EVENT_EVERY = 10, 20
#: seconds that the threads of a planner's program have to notice that it has ended
_PATIENCE_S = 5.0
Plan = Callable[[Mapping[str, Any]], str | None]


class PromptSource(abc.ABC):
    """Decides the prompt of each step of an episode."""

    @abc.abstractmethod
    def reset(self, obs: Observation, info: Info) -> str:
        """An episode begins: its first prompt."""

    @abc.abstractmethod
    def step(self, action: Action, obs: Observation, info: Info) -> str | None:
        """After a step: the prompt from now on, None to go on with the present one."""

    def close(self) -> None:
        """Nobody asks any more."""
        return


@dataclasses.dataclass(frozen=True)
class Link:
    """One prompt of a chain, until its condition holds or it was followed for `steps` steps (0: no limit)."""

    prompt: str
    until: Condition | None = None
    steps: int = 0


class PromptChain(PromptSource):
    """Prompts in a row; the last one stays. Conditions count from the step at which their prompt began."""

    def __init__(self, links: list[Link]) -> None:
        self.links = links

    def reset(self, obs: Observation, info: Info) -> str:
        self._place = 0
        self._begin(obs, info)
        return self.links[0].prompt

    def _begin(self, obs: Observation, info: Info) -> None:
        self._steps, self._trace = 0, TraceRecorder(obs, info)

    def step(self, action: Action, obs: Observation, info: Info) -> str | None:
        if self._place + 1 == len(self.links):
            return None
        link = self.links[self._place]
        self._steps += 1
        if link.until is not None:
            self._trace.add(action, obs, info)
        over = bool(link.steps) and self._steps >= link.steps
        if not over and link.until is not None and self._steps % CHECK_EVERY == 0:
            over = link.until.holds(self._trace.trace({}))
        if not over:
            return None
        self._place += 1
        self._begin(obs, info)
        return self.links[self._place].prompt


def read_chain(source: str, suite: Suite) -> PromptChain:
    """A chain from a YAML file, or typed as "chop a tree=600; build a pillar=300".

    Args:
        source: the file's path, or the list; PROMPT=STEPS.
        suite: its tasks may be named in place of conditions.

    Raises:
        UserError: an entry that is not as docs/live.md says; names it.
    """
    if not source.lower().endswith((".yaml", ".yml")):
        if _is_file(source):
            raise UserError("A file with a chain of prompts ends in .yaml.", where="--prompts", got=source)
        entries: list[Any] = [_typed(entry) for entry in split_prompts(source)]
        where = "--prompts"
    else:
        content, where = read_yaml(resolve(source), "chain of prompts"), source
        entries = content.get("prompts")  # type: ignore[assignment]
        if set(content) != {"prompts"} or not isinstance(entries, list):
            raise UserError("A chain needs the key prompts, and no other.", where=source, expected="prompts: [...]")
    if not entries:
        raise UserError("This chain has no prompts.", where=where)
    links = [_link(entry, suite, f"{where}, prompt {number}") for number, entry in enumerate(entries, 1)]
    for number, link in enumerate(links[:-1], 1):
        if link.until is None and not link.steps:
            raise UserError(
                "This prompt never ends, so the ones after it are never reached.",
                where=f"{where}, prompt {number}",
                got=link.prompt,
                todo="give it steps, or until, or the task whose success ends it",
            )
    return PromptChain(links)


def _is_file(source: str) -> bool:
    with contextlib.suppress(UserError):  # a list that is longer than any path
        return resolve(source).is_file()
    return False


def _typed(entry: str) -> dict[str, Any]:
    prompt, equals, steps = entry.partition("=")
    if equals and not steps.strip().isdecimal():
        raise UserError("This is not a number of steps.", where="--prompts", got=entry, expected="PROMPT=STEPS")
    return {"prompt": prompt.strip()} | ({"steps": int(steps)} if equals else {})


def _link(entry: Any, suite: Suite, where: str) -> Link:
    if not isinstance(entry, Mapping) or not set(entry) <= {"prompt", "task", "until", "steps"}:
        raise UserError(
            "This is not a prompt of a chain.", where=where, expected="prompt, task, until, steps", got=entry
        )
    task = suite.find(str(entry["task"])) if "task" in entry else None
    prompt = entry.get("prompt") or (task.prompts["en"] if task else "")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError("This entry of the chain has no prompt.", where=where, got=dict(entry))
    steps = entry.get("steps", 0)
    if type(steps) is not int or steps < 0 or (steps == 0 and "steps" in entry):
        raise UserError("steps must be a whole number above 0.", where=where, got=steps)
    until = parse_condition(entry["until"], f"{where}, until") if "until" in entry else None
    return Link(prompt.strip(), until or (task.success if task else None), steps)


def event_of(obs: Observation, info: Info, tick: int, prompt: str, since: int) -> dict[str, Any]:
    """What a planner is told: plain numbers and names."""
    place = obs["location_stats"]
    return {
        "tick": tick,
        "prompt": prompt,
        "prompt_steps": tick - since,
        "inventory": {str(name): int(count) for name, count in obs["inventory"].items()},
        "position": [round(float(place[name]), 3) for name in ("xpos", "ypos", "zpos")],
        "view": [round(float(place[name]), 2) for name in ("pitch", "yaw")],
        "menu": bool(obs.get("is_gui_open")),
        "health": float(info.get("health", 20.0)),
        **{
            kind: {str(name): int(count) for name, count in (info.get(kind) or {}).items()}
            for kind in ("dug", "placed", "crafted")
        },
    }


class Planner(PromptSource):
    """Asks a function once a second of the game.

    Args:
        plan: event → prompt, or None to go on; it must answer at once, since the game waits.
        first: the prompt until it names one.
    """

    def __init__(self, plan: Plan, first: str) -> None:
        self._plan, self._first = plan, first

    def reset(self, obs: Observation, info: Info) -> str:
        self._tick, self._since, self._prompt = 0, 0, self._first
        return self._asked(obs, info) or self._first

    def step(self, action: Action, obs: Observation, info: Info) -> str | None:
        self._tick += 1
        return self._asked(obs, info) if self._tick % EVENT_EVERY == 0 else None

    def _asked(self, obs: Observation, info: Info) -> str | None:
        event = event_of(obs, info, self._tick, self._prompt, self._since)
        try:
            answer = self._plan(event)
        except UserError:
            raise
        except (Exception, SystemExit) as fault:
            raise _planner_fault("The planner failed.", fault, "--planner") from fault
        if answer is not None and not _is_prompt(answer):
            raise UserError("The planner must return a prompt or None.", got=repr(answer)[:120])
        if answer is None or answer == self._prompt:
            return None
        self._prompt, self._since = answer, self._tick
        return answer


def _is_prompt(text: Any) -> TypeGuard[str]:
    """Words that a file can hold: half an emoji, as of an answer that was cut off, is none."""
    return isinstance(text, str) and bool(text.strip()) and text == text.encode(errors="replace").decode()


def _planner_fault(what: str, fault: BaseException, source: str) -> UserError:
    """An error in the user's code, with the line of the user's file that led to it; `source` where none did."""
    ours = (__file__, importlib.__file__)
    frames = traceback.extract_tb(fault.__traceback__)
    places = [(each.filename, each.lineno) for each in frames if each.filename not in ours and each.filename[0] != "<"]
    if isinstance(fault, SyntaxError) and fault.filename:
        places.append((fault.filename, fault.lineno))
    lines = [line for file, line in places if file == places[0][0]]
    where = f"{display(places[0][0])}, line {lines[-1]}" if places else source
    return UserError(what, where=where, got=f"{type(fault).__name__}: {fault}")


class PlannerProcess:
    """A planner as a program of its own: it reads an event a line, and may write {"prompt": "..."} a line at any time.

    One that reads slowly, or not at all, holds nobody up: of the events that wait, it gets the newest alone.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        try:
            words = shlex.split(command)
            if not words:
                raise ValueError("no command")
            # A session of its own, as `end` wants it.
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1, start_new_session=True,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except (OSError, ValueError) as fault:
            raise UserError("The planner does not start.", got=str(fault), where=command) from None
        self._prompts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._newest: str | None = None
        self._closed = self._told = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=work, name="planner", daemon=True) for work in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                prompt = json.loads(line)["prompt"]
            except (ValueError, KeyError, TypeError, RecursionError):
                prompt = None
            if _is_prompt(prompt):
                self._prompts.put(prompt.strip())
            elif line.strip():
                print(translated(f"warning: the planner wrote a line that is not a prompt: {line.strip()[:120]}"))

    def _write(self) -> None:
        """Write the newest event, as soon as the program has read the ones before."""
        assert self._process.stdin is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._closed)
                line, self._newest = self._newest, None
            if line is None:
                return
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except (OSError, ValueError):  # it reads no more; `__call__` says whether it has ended
                return

    def __call__(self, event: Mapping[str, Any]) -> str | None:
        """Send an event; the newest prompt that has come, if one has. Never waits for the program.

        Raises:
            UserError: the program has ended.
        """
        self._told = True
        with self._changed:
            self._newest = json.dumps(event) + "\n"
            self._changed.notify()
        ended = self._process.poll() is not None and not self._threads[0].is_alive()
        found = None
        while not self._prompts.empty():
            found = self._prompts.get()
        if found is None and ended:
            got = f"exit code {self._process.returncode}"
            raise UserError("The planner has ended.", where=self._command, got=got)
        return found

    def forget(self) -> None:
        """An episode begins: answers to the last one's events are no prompts of it; what came before the first event is."""
        while self._told and not self._prompts.empty():
            self._prompts.get()

    def close(self) -> None:
        """End the program."""
        end(self._process)
        with self._changed:
            self._closed, self._newest = True, None
            self._changed.notify()
        for thread, pipe in zip(self._threads, (self._process.stdout, self._process.stdin)):
            thread.join(_PATIENCE_S)
            if not thread.is_alive():  # else another program holds the pipe, and closing it would wait
                with contextlib.suppress(OSError, ValueError):  # what was not read any more
                    pipe.close()  # type: ignore[union-attr]


class ProcessPlanner(Planner):
    """Asks a program of its own, which is started here."""

    def __init__(self, command: str, first: str) -> None:
        self._process = PlannerProcess(command)
        super().__init__(self._process, first)

    def reset(self, obs: Observation, info: Info) -> str:
        self._process.forget()
        return super().reset(obs, info)

    def close(self) -> None:
        self._process.close()


def open_planner(source: str, first: str) -> Planner:
    """A planner: FILE.py:FUNCTION or MODULE:FUNCTION, else a command to start.

    Raises:
        UserError: there is no such file, module or function.
    """
    place, colon, name = source.rpartition(":")
    is_file = place.endswith(".py") and resolve(place).is_file()  # a folder's name may hold blanks
    if not colon or (" " in source and not is_file) or not name.isidentifier():
        return ProcessPlanner(source, first)
    try:
        if place.endswith(".py"):
            path = resolve(place)
            spec = importlib.util.spec_from_file_location(f"steve1_planner_{Path(place).stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses look for the module that they stand in
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except UserError:
        raise
    except (Exception, SystemExit) as fault:
        raise _planner_fault("The planner does not load.", fault, source) from fault
    plan = getattr(module, name, None)
    if not callable(plan):
        raise UserError("The planner's file has no such function.", where=place, got=name)
    return Planner(plan, first)


@contextlib.contextmanager
def open_source(prompts: str, planner: str, first: str, suite: Suite) -> Iterator[PromptSource | None]:
    """What decides the prompts, closed at the end: a chain, a planner, or None where there is neither.

    Args:
        prompts: as for `read_chain`; "": no chain.
        planner: as for `open_planner`; "": no planner.
        first: the planner's first prompt.

    Raises:
        UserError: both are given, or one is wrong.
    """
    if prompts and planner:
        raise UserError("--prompts and --planner both decide the prompts.", todo="use one of them")
    if not prompts and not planner:
        yield None
        return
    source = read_chain(prompts, suite) if prompts else open_planner(planner, first)
    try:
        yield source
    finally:
        source.close()


class PromptedActor(Actor):
    """An agent whose goal changes as a source of prompts says.

    Args:
        encode: prompt → goal (E,).

    Attributes:
        prompt: the present one.
        history: (step, prompt) of each.
    """

    def __init__(self, agent: PixelAgent, source: PromptSource, encode: Callable[[str], Goal]) -> None:
        self._agent, self._source, self._encode = agent, source, encode
        self.prompt = ""
        self.history: list[tuple[int, str]] = []

    def reset(self, obs: Observation, info: Info) -> None:
        self._agent.reset()
        self._step = 0
        self._action: Action | None = None
        self.history = []
        self._ask(self._source.reset(obs, info))

    def _ask(self, prompt: str) -> None:
        self.prompt, self._goal = prompt, self._encode(prompt)
        self.history.append((self._step, prompt))

    def act(self, obs: Observation, info: Info) -> Action:
        if self._action is not None:
            prompt = self._source.step(self._action, obs, info)
            if prompt is not None and prompt != self.prompt:
                self._ask(prompt)
        self._step += 1
        self._action = self._agent.act(obs["pov"], self._goal)
        return self._action
