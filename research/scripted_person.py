"""A scripted person at the page's socket: watches the policy, takes over, and shows how it is done. `python -m research.scripted_person --help`.

It reads the game's state, as scripted players do, but acts through the socket alone: buttons as a browser names them, mouse movement in
pixels, take-overs and recordings as commands. So everything but the hand is as with a person at `steve1 live`.
Output: recordings in the contractors' form; those that failed, or needed nobody, lie in another folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
from pathlib import Path
from types import TracebackType

from websockets.sync.client import ClientConnection, connect

from steve1.actions.contractor import DEGREES_PER_PIXEL
from steve1.commands.cli import run
from steve1.commands.play import live
from steve1.core.errors import UserError
from steve1.core.files import read_json, rename
from steve1.core.messages import message, progress, translated
from steve1.core.paths import display, output_path
from steve1.core.seeds import integer
from steve1.data.recordings.contractor import PERSON
from steve1.envs.interface import Action, Info, Observation
from steve1.evaluation.runner.episodes import watch_options
from steve1.evaluation.tasks.suite import Task, load_suite
from steve1.live.host import Host
from steve1.live.inputs import BUTTONS
from steve1.live.prompts import CHECK_EVERY, PromptSource
from steve1.live.protocol import unpack
from steve1.live.session_page import SessionPage
from steve1.rollout.play import DoNothing
from steve1.rollout.players import make_player
from steve1.rollout.record import free_prefix
from steve1.rollout.takeover import TakeOver
from steve1.rollout.trace import Trace, TraceRecorder

_CODES = {button: code for code, button in BUTTONS.items()}
_ENDINGS = ("-options.json", ".jsonl", ".mp4")
_MOST_FAILURES = 3  # per recording that succeeds, on average
_MOST_WATCHED = 12  # episodes per recording in which the weights are to get stuck


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args:
    """Corrections by a scripted person."""

    weights: str
    """The policy that is corrected."""
    prompt: str
    """What it is asked for; the scripted player of its task takes over."""
    recordings: str
    """Folder of the recordings."""
    failed: str = ""
    """Folder of those that failed, or needed nobody; default: <recordings>_failed. Conversion takes every recording below a folder, so let no folder hold both."""
    count: int = 10
    """Recordings that succeed, with those that are there."""
    steps: int = 200
    """Ticks that the person plays."""
    patience: int = 80
    """Take over once the policy has got no further for this many ticks, and not at all where it succeeds; 0: demonstrations, from the first tick."""
    seed: int = 0
    """Seed of worlds and players."""
    rate: float = 200.0
    """Ticks a second at most; 20 is a person's time."""
    device: str = "cpu"
    """Device of the policy."""


class Watch:
    """How the policy gets on, by the measure of its task.

    Attributes:
        succeeded: whether it has done what it was asked for.
        stuck: whether its measure has not been better for `patience` ticks.
    """

    def __init__(self, task: Task, patience: int, obs: Observation, info: Info) -> None:
        self._task, self._patience = task, patience
        self._trace, self._tick, self._rose = TraceRecorder(obs, info), 0, 0
        self._best = self._score(self._trace.trace({}))
        self.succeeded = self.stuck = False

    def _score(self, trace: Trace) -> float:
        value = self._task.measure.value(trace)
        return -value if self._task.lower_is_better else value

    def look(self, action: Action, obs: Observation, info: Info) -> None:
        """One tick more; judged as often as the conditions of a chain of prompts."""
        self._trace.add(action, obs, info)
        self._tick += 1
        if self._tick % CHECK_EVERY:
            return
        trace = self._trace.trace({})
        if (score := self._score(trace)) > self._best:
            self._best, self._rose = score, self._tick
        self.succeeded = self._task.success.holds(trace)
        self.stuck = not self.succeeded and self._tick - self._rose >= self._patience


class ScriptedPerson(PromptSource):
    """Told by the session what the game is like after each tick; answers over the socket, and waits until its message was taken.

    Args:
        task: what the policy is asked for; its player plays after a take-over.
        first: number of the first episode, of all sessions.
        recordings: in how many it plays before it says finish.
    """

    def __init__(self, args: Args, task: Task, first: int, recordings: int) -> None:
        self._args, self._task, self._missing = args, task, recordings
        self._episode, self._last = first - 1, first + recordings * (_MOST_WATCHED if args.patience else 1) - 1
        self._held = contextlib.ExitStack()
        self._client: ClientConnection
        self._bar = progress(total=recordings, desc=message("bar recording"), unit="episode")

    def __enter__(self) -> ScriptedPerson:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._held.close()

    def sit_down(self, url: str) -> None:
        """Open the page at this address."""
        place = url.replace("http", "ws").replace("/?", "/socket?")
        self._client = self._held.enter_context(connect(place, compression=None, ping_interval=None))

    def reset(self, obs: Observation, info: Info) -> str:
        args, self._tick = self._args, 0
        self._episode += 1
        player = make_player(self._task.player, integer(args.seed, "person", self._episode))
        player.steady = True
        self._watch = Watch(self._task, args.patience, obs, info)
        # Unless it gets stuck before, it plays as long as its task lasts.
        self._moment, self._end = (self._task.steps, self._task.steps) if args.patience else (0, args.steps)
        self._play = TakeOver(DoNothing(), player, self._moment)
        self._play.reset(obs, info)
        self._say("hand_back" if self._moment else "take_over")
        self._say("record")
        return args.prompt

    def step(self, action: Action, obs: Observation, info: Info) -> None:
        self._tick += 1
        mine = self._play.act(obs, info)
        if self._tick == 1:
            self._wait()  # until the recording runs; the session answers nothing before its first picture
        if self._tick < self._moment:
            self._watch.look(action, obs, info)
            if self._watch.stuck:
                self._moment = self._play.after = self._tick
                self._end = self._tick + self._args.steps
            elif self._watch.succeeded:
                self._end = self._tick
        if self._tick == self._end:
            if self._tick > self._moment:
                self._missing -= 1
                self._bar.update()
            self._say("stop")
            self._say("finish" if not self._missing or self._episode == self._last else "reset_world", wait=True)
        elif self._tick == self._moment:
            self._say("take_over", wait=True)  # which lets go of everything, so the first press comes a tick later
        elif self._tick > self._moment:
            self._press(mine)

    def _press(self, action: Action) -> None:
        pitch, yaw = (round(float(way) / DEGREES_PER_PIXEL) for way in action["camera"])
        down = [_CODES[name] for name, value in action.items() if name in _CODES and value]
        # "pressed" counts for one tick even where the tick comes so late that what is down counts as let go.
        self._say("input", wait=True, down=down, pressed=down, dx=yaw, dy=pitch, wheel=0)

    def _say(self, name: str, *, wait: bool = False, **more: object) -> None:
        self._client.send(json.dumps({"do": name, **more}))
        if wait:
            self._wait()

    def _wait(self) -> None:
        """Messages are taken one after another, so the answer to this one says that those before it were taken."""
        self._client.send(json.dumps({"do": "look", "tick": 0}))
        while True:
            message = self._client.recv(timeout=60)
            if isinstance(message, bytes) and unpack(message)[0]["kind"] == "past":
                return


def main(args: Args) -> None:
    """Record until there are enough."""
    folder = output_path(args.recordings)
    task = load_suite("luanti").find(args.prompt)
    if not task.player:
        raise UserError("No scripted player plays this task.", got=task.name)
    aside = output_path(args.failed) if args.failed else folder.with_name(f"{folder.name}_failed")
    for each in (folder, aside):
        each.mkdir(parents=True, exist_ok=True)
    put_aside(folder, aside, task.name)  # of a session that was killed
    while (missing := args.count - made(folder)) > 0:
        failed, tried = failures(aside), made(folder) + made(aside)
        if failed >= _MOST_FAILURES * args.count or tried >= _MOST_WATCHED * args.count:
            raise UserError(
                "The scripted person succeeds too seldom."
                if failed >= _MOST_FAILURES * args.count
                else "The policy gets stuck too seldom.",
                where=display(folder),
                got=f"{args.count - missing} of {tried}",
                expected=args.count,
            )
        play(args, task, folder, aside, tried, missing)
        put_aside(folder, aside, task.name)
    print(translated(f"{made(folder)} recordings in {display(folder)}"))


def play(args: Args, task: Task, folder: Path, aside: Path, first: int, recordings: int) -> None:
    """One session, whose first episode is number `first` of all; its log lies beside what was put aside, where nothing is converted."""
    options = live.Args(
        weights=args.weights, prompt=args.prompt, recordings=str(folder), folder=f"{aside}_session", similarity=False, device=args.device,
        seed=args.seed + first,
    )  # fmt: skip
    with (
        ScriptedPerson(args, task, first, recordings) as person,
        live.make_session(options, source=person, rate=args.rate, options=watch_options(task.player)) as session,
        Host(page := SessionPage(session), port=0) as host,
    ):
        session.screen.listen(lambda: host.call(page.wake_all))
        person.sit_down(host.url)
        session.run()


def put_aside(folder: Path, aside: Path, task: str) -> None:
    """Move the recordings of the task that did not succeed, as their options say, and those in which the policy did without the person."""
    for video in sorted(folder.glob(f"{glob.escape(task)}-[0-9]*.mp4")):
        prefix = str(video).removesuffix(".mp4")
        options = Path(f"{prefix}-options.json")
        if options.exists() and read_json(options).get("success") is True and has_person(Path(f"{prefix}.jsonl")):
            continue
        target = free_prefix(aside, task)
        for ending in _ENDINGS:  # the video last: where a kill leaves it, it is moved the next time
            if Path(f"{prefix}{ending}").exists():
                rename(Path(f"{prefix}{ending}"), Path(f"{target}{ending}"))


def has_person(ticks: Path) -> bool:
    """Whether the person acted in a recording: if so, until its end."""
    lines = ticks.read_text(encoding="utf-8").splitlines()
    try:
        return bool(lines) and json.loads(lines[-1]).get("who") == PERSON
    except ValueError:  # killed in the middle of a line
        return False


def failures(folder: Path) -> int:
    """How many recordings of those put aside failed although the person played."""
    return sum(has_person(ticks) for ticks in folder.glob("*.jsonl"))


def made(folder: Path) -> int:
    """How many recordings a folder has."""
    return len(list(folder.glob("*.mp4")))


if __name__ == "__main__":
    run(Args, main, "Corrections by a scripted person at the page's socket.")
