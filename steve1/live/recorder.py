"""What a session keeps: recordings in the contractors' form, begun and ended at any tick and judged by their task's rule, and films.

Output: `<prefix>.mp4`, `.jsonl` (each tick says who acted) and `-options.json` of each recording, nothing of those thrown away;
`film-<number>.mp4` with prompt and buttons in the picture.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from steve1.core.messages import message
from steve1.core.paths import display, slug
from steve1.core.processes import uninterrupted
from steve1.envs.interface import Action, Info, Observation
from steve1.evaluation.tasks.suite import Task
from steve1.live.screen import Screen, tell
from steve1.rollout.record import FORMAT, RecordingWriter, free_prefix, is_recorded, whole_pixels
from steve1.rollout.trace import TraceRecorder
from steve1.rollout.video import EpisodeVideo

#: bytes that must stay free, so that a recording can still be finished
_SPARE = 200_000_000
_CHECK_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Kept:
    """A finished recording. `success` and `value` are its task's; None where the prompt belongs to no task. `unit` is in the user's language."""

    prefix: Path
    ticks: int
    success: bool | None = None
    value: float | None = None
    unit: str = ""

    def facts(self) -> dict[str, Any]:
        """For the page."""
        return {**dataclasses.asdict(self), "prefix": self.prefix.name}


class Take:
    """A recording in the making.

    Args:
        prefix: its path without an ending.
        obs, info: where it begins; what is gained is counted from here.
        name: of what is shown: the task's, or the prompt's words as a file name.
        prompt: what is shown, in words.
        task: judges it; None: nobody does.
        facts: more entries for the options file.
    """

    def __init__(
        self, prefix: Path, obs: Observation, info: Info, *, name: str, prompt: str, task: Task | None, facts: dict[str, Any]
    ) -> None:  # fmt: skip
        self._held = contextlib.ExitStack()
        self._writer = self._held.enter_context(RecordingWriter(prefix))
        self._trace = TraceRecorder(obs, info)
        self._name, self._prompt, self._task, self._facts = name, prompt, task, facts
        self._acted: Counter[str] = Counter()
        self.prompts: list[tuple[int, str]] = [(0, prompt)]

    @property
    def ticks(self) -> int:
        """How many it has."""
        return self._writer.ticks

    def add(self, obs: Observation, info: Info, action: Action, who: str) -> None:
        """What is seen, and the action that is taken on it."""
        self._writer.add(obs, info, action, who)
        self._acted[who] += 1

    def after(self, action: Action, obs: Observation, info: Info, reward: float) -> None:
        """What the action led to."""
        self._trace.add(action, obs, info, reward)

    def ask(self, prompt: str) -> None:
        """The prompt changes."""
        self.prompts.append((self.ticks, prompt))

    @property
    def out_of_space(self) -> bool:
        """Whether the disk is nearly full; looked up once a second."""
        return self.ticks % _CHECK_EVERY == 0 and shutil.disk_usage(self._writer.prefix.parent).free < _SPARE

    def finish(self) -> Kept | None:
        """Judge it and give its files their names; None where it has no tick."""
        with self._held:
            if not self.ticks:
                return None
            success, value = None, None
            if self._task is not None:
                success, value = self._task.judge(self._trace.trace({}))
                success, value = bool(success), round(float(value), 3)
            options = {
                "format": FORMAT, "behaviour": self._name, "captions": [self._prompt] if self._prompt else [], "steps": self.ticks, "success": success,
                "value": value, "unit": self._task.measure_name if self._task else "", "prompts": self.prompts, "acted": dict(self._acted), **self._facts,
            }  # fmt: skip
            if os.path.lexists(f"{self._writer.prefix}.mp4"):  # another session has recorded into this folder meanwhile
                self._writer.prefix = free_prefix(self._writer.prefix.parent, self._name)
            self._writer.finish(options)
            return Kept(self._writer.prefix, self.ticks, success, value, self._task.measure_label if self._task else "")

    def discard(self) -> None:
        """Throw it away."""
        self._held.close()


class Recorder:
    """At most one recording and one film at a time.

    Args:
        folder: of films.
        recordings: of recordings.
        title: of films.
        facts: noted in each recording.
        screen: where events and faults are told.

    Attributes:
        kept: the recordings so far.
    """

    def __init__(self, folder: Path, recordings: Path, title: str, facts: dict[str, Any], screen: Screen) -> None:
        self.kept: list[Kept] = []
        self._folder, self._recordings, self._title, self._facts, self._screen = (
            folder,
            recordings,
            title,
            facts,
            screen,
        )
        self._take: Take | None = None
        self._film: EpisodeVideo | None = None
        self._film_step = 0

    @property
    def ticks(self) -> int | None:
        """Of the present recording; None without one."""
        return None if self._take is None else self._take.ticks

    @property
    def filming(self) -> bool:
        """Whether a film is being made."""
        return self._film is not None

    @uninterrupted()
    def before(self, obs: Observation, info: Info, seen: Observation, action: Action, who: str) -> Action:
        """A tick begins: note what is seen and done; the action as it is to be played, in whole pixels while recording.

        Args:
            seen: the observation with the arrow of an open menu.
        """
        try:
            if self._film is not None:
                self._film.on_frame(seen["pov"], action, self._film_step)
                self._film_step += 1
                if self._film_step % _CHECK_EVERY == 0 and shutil.disk_usage(self._folder).free < _SPARE:
                    self._screen.notice("error", message("live film disk full"))
                    self.end_film()
            if self._take is None:
                return action
            action = whole_pixels(action)
            self._take.add(obs, info, action, who)
            if not self._take.out_of_space:
                return action
            self._screen.notice("error", message("live disk full"))
        except OSError as fault:
            self._screen.notice("error", f"{message('live recording failed')} ({fault.strerror or fault})")
        self.keep()
        self.end_film()
        return action

    @uninterrupted()
    def after(self, action: Action, obs: Observation, info: Info, reward: float) -> None:
        """What the action led to."""
        if self._take is not None:
            self._take.after(action, obs, info, reward)

    def ask(self, prompt: str) -> None:
        """The prompt changes."""
        if self._take is not None:
            self._take.ask(prompt)
        if self._film is not None:
            self._film.ask(prompt)

    def record(self, obs: Observation, info: Info, prompt: str, task: Task | None, reset: dict[str, Any]) -> None:
        """Begin a recording, unless there is one.

        Raises:
            UserError: files of another recording are in its way.
        """
        if self._take is not None:
            return
        name = task.name if task else slug(prompt or "play")
        prefix = free_prefix(self._recordings, name)
        is_recorded(prefix)
        facts = {"seed": reset["seed"], "reset": reset["options"], **self._facts}
        self._take = Take(prefix, obs, info, name=name, prompt=prompt, task=task, facts=facts)
        self._screen.event("record", prefix.name)

    @uninterrupted()
    def keep(self) -> None:
        """End the recording, if there is one, and keep it."""
        take, self._take = self._take, None
        if take is None:
            return
        try:
            kept = take.finish()
        except OSError as fault:
            self._screen.event("discarded")
            self._screen.notice("error", f"{message('live recording lost')} ({fault.strerror or fault})")
            return
        if kept is None:  # it has no tick
            self._screen.event("discarded")
            return
        self.kept.append(kept)
        self._screen.event("kept", kept.prefix.name)
        path, result = f"{display(kept.prefix)}.mp4", judged(kept)
        tell(message("live kept", path=path, ticks=kept.ticks, result=result))

    def discard(self) -> None:
        """Throw the recording away."""
        take, self._take = self._take, None
        if take is not None:
            take.discard()
            self._screen.event("discarded")

    def film(self, prompt: str) -> None:
        """Begin a film, or end the present one."""
        if self._film is not None:
            self.end_film()
            return
        numbers = (int(path.stem[5:]) for path in self._folder.glob("film-*.mp4") if path.stem[5:].isdigit())
        path = self._folder / f"film-{max(numbers, default=0) + 1:03d}.mp4"
        self._film, self._film_step = EpisodeVideo(path, prompt, 0, title=self._title), 0
        self._screen.event("film", path.name)

    @uninterrupted()
    def end_film(self) -> None:
        """End the film, if there is one."""
        film, self._film = self._film, None
        if film is None:
            return
        try:
            film.__exit__(None, None, None)
        except OSError as fault:
            self._screen.notice("error", f"{message('live recording lost')} ({fault.strerror or fault})")
            return
        if not self._film_step:
            self._screen.notice("note", message("live film empty"))
            return
        self._screen.event("filmed", film.path.name)
        tell(message("live filmed", path=display(film.path)))


def judged(kept: Kept) -> str:
    """How a recording was judged, in words."""
    if kept.success is None:
        return message("live not judged")
    return message("live success" if kept.success else "live no success", measure=kept.unit, value=f"{kept.value:g}")
