"""Command: play, prompt, take over and record at a page in a browser (`bash run_agent/3_run_interactive_session.sh`).

Input: weights and a prompt, or a person alone.
Output: recordings in the contractors' form, films, and a log of the session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from steve1.core.errors import UserError
from steve1.core.files import check_writable, sha256_file
from steve1.core.messages import message, say_next
from steve1.core.options import Option
from steve1.core.paths import display, output_path, quoted
from steve1.core.processes import limit_threads
from steve1.envs.interface import FPS
from steve1.evaluation.settings import PolicySettings

if TYPE_CHECKING:
    from steve1.live.prompts import PromptSource
    from steve1.live.session import Session


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PolicySettings):
    """A session."""

    GROUPS: ClassVar = {
        "options": "weights prompt prompts planner env biome seed ticks device",
        "recording": "recordings folder film",
        "page": "host port open_browser similarity",
    }

    weights: Annotated[str, Option(aliases=("--in_weights",))] = ""
    """Policy weights that play until you take over; without, you play from the start."""
    prompt: Annotated[str, Option(aliases=("--text_prompt",))] = ""
    """First prompt; without --weights, the words for what you are going to show."""
    prompts: str = ""
    """Chain of prompts: a YAML file (docs/live.md), or "chop a tree=600;build a pillar=300" with steps."""
    planner: str = ""
    """Program that decides the prompts: FILE.py:FUNCTION, MODULE:FUNCTION, or a command that reads events and writes prompts as JSON lines."""
    biome: str = ""
    """Where worlds begin for prompts of no known task: meadow, forest or shore; default: meadow."""
    recordings: str = ""
    """Folder of the recordings; default: data/recordings/live."""
    folder: str = ""
    """Folder of the session's log and films; default: data/live/<date and time>."""
    film: bool = False
    """Film the whole session, with prompt and buttons in the picture."""
    ticks: int = 0
    """End after this many ticks (20 a second), without waiting for the page; 0: play until it says finish."""
    host: str = "127.0.0.1"
    """Address to answer on. Any other than 127.0.0.1 lets other machines in, who must know the token."""
    port: int = 8765
    """Port of the page; 0: any free one."""
    open_browser: bool = True
    """Open the page in this machine's browser, where there is one."""
    similarity: bool = True
    """Show how near the game is to the goal, by MineCLIP."""


def main(args: Args) -> None:
    """Start the game and the server, play until the page says finish or Ctrl-C."""
    from steve1.live.host import Host  # these load torch, for which --help need not wait
    from steve1.live.session_page import SessionPage

    if (args.prompts or args.planner) and not args.weights:
        given = "--prompts" if args.prompts else "--planner"
        raise UserError("Prompts are for weights, and none are given.", todo=f"add --weights, or leave out {given}")
    if args.ticks < 0:
        raise UserError("--ticks must be at least 0.", got=args.ticks)
    with contextlib.ExitStack() as held:
        session = held.enter_context(make_session(args))
        page = SessionPage(session)
        host = held.enter_context(Host(page, host=args.host, port=args.port))
        session.screen.listen(lambda: host.call(page.wake_all))
        print(message("live page", url=host.url))
        if host.is_public:
            print(message("live public", url=host.public_url))
        print(message("live tunnel", port=str(host.port)))
        sys.stdout.flush()
        if args.open_browser and has_browser():
            webbrowser.open(host.url)
        kept = session.run(args.ticks)
    middle, worst = session.screen.lateness_ms()
    print(message("live over", ticks=session.screen.tick, middle=f"{middle:.1f}", worst=f"{worst:.1f}"))
    print(message("live log", path=display(session.settings.folder)))
    if kept:
        folder = quoted(session.settings.recordings)
        print(message("live made", count=len(kept)))
        say_next(f"SOURCE=folder RECORDINGS_DIR={folder} bash 1_generate_dataset.sh")


def has_browser() -> bool:
    """Whether a browser could open on this machine's screen."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def make_session(
    args: Args, *, source: PromptSource | None = None, rate: float = FPS, options: Mapping[str, Any] | None = None
) -> Iterator[Session]:
    """The session that the options ask for; weights are loaded, no game is open yet.

    Args:
        source: decides the prompts, in place of `prompts` and `planner`.
        rate: ticks a second, at most.
        options: further reset options of each world.
    """
    from steve1.envs import make_env, start_states
    from steve1.evaluation.policies import PolicyCache, choose_env, environment_threads, parse_weights
    from steve1.evaluation.tasks.suite import load_suite
    from steve1.goals import GoalEncoder
    from steve1.live.goals import LiveGoals
    from steve1.live.prompts import PromptChain, open_source
    from steve1.live.session import Session, SessionSettings
    from steve1.rollout.supervise import SupervisedEnv

    specs = [parse_weights(args.weights, **args.metadata_overrides())] if args.weights else []
    foreign: list[str] = []
    env = choose_env(specs, args.env, foreign.append)
    suite = load_suite(env)
    folder = output_path(args.folder or f"data/live/{time.strftime('%Y-%m-%d_%H%M%S')}")
    recordings = output_path(args.recordings or "data/recordings/live")
    check_writable(folder / "session.jsonl", recordings / "x")
    with contextlib.ExitStack() as held:
        source = source or held.enter_context(open_source(args.prompts, args.planner, args.prompt, suite))
        agent, goals, facts = None, None, {"player": "a person"}
        if specs:
            spec = specs[0]
            limit_threads(environment_threads(1))
            agent = PolicyCache(device=args.device, deterministic=args.deterministic).agent(spec)
            encoder = GoalEncoder(
                spec.metadata, device=args.device, translations=suite.translations, say=lambda text: None
            )  # the session says it, here and on the page
            goals = LiveGoals(encoder, seed=args.seed, compare=args.similarity)
            weights = Path(spec.weights)
            facts = {
                "player": "weights and a person",
                "weights": display(weights),
                "weights_sha256": sha256_file(weights),
            }
        biome = args.biome or "meadow"
        settings = SessionSettings(
            env=env, title=specs[0].name if specs else env, folder=folder, recordings=recordings, biome=biome, seed=args.seed, facts=facts,
            starts=lambda where: start_states(env, where, "demo"), options=options or {},  # evaluation begins elsewhere
        )  # fmt: skip
        game = SupervisedEnv(lambda: make_env(env, biome=biome))
        session = Session(
            settings,
            game,
            suite,
            agent=agent,
            goals=goals,
            prompt=source.links[0].prompt if isinstance(source, PromptChain) else args.prompt,
            source=source,
            film=args.film,
            rate=rate,
        )
        for text in foreign:
            session.screen.notice("warning", text)
        yield session
