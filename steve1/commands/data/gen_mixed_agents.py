"""Command: episodes in which two VPT agents play in turns, with spins in between (`gen_mixed_agents` of STEVE-1), in any game.

Input: two or more weights files.
Output: native episodes, ready for `tools/generate_mineclip_embeds.py`. The same command again continues a stopped run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from steve1.agent import Agent
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.files import check_writable, existing_file, sha256_file
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.paths import display, output_path, quoted
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode
from steve1.envs import Env, make_env
from steve1.policy import GoalPolicy, load_policy
from steve1.rollout.mixed import MixSettings, find_mixed, mixed_episode, mixed_seed
from steve1.rollout.supervise import SupervisedEnv

_ELSEWHERE = 1_000_003  # between the seeds of two attempts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(MixSettings):
    """Two agents in turns."""

    agents: tuple[str, ...]
    """Weights of two or more agents, VPT's or others; each episode uses two. The same file may appear twice. One word may name several, separated by semicolons, or by blanks."""
    output_dir: str = "data/dataset_mixed_agents"
    """Output folder for the episodes."""
    env: str = "luanti"
    """Game: luanti, mcio, minerl, minedojo or minestudio."""
    n_episodes: int = 5
    """Total number of episodes, including existing ones."""
    in_model: str = ""
    """.model file for all agents; default: each weights file's own, else the published 2x."""
    biome: str = "meadow"
    """Start biome; for minedojo a task's id."""
    seed: int = 0
    """Seed; combined with the episode's number."""
    attempts: int = 6
    """Attempts for an episode that ends too early."""
    max_restarts: int = 10
    """Stop after this many crashes of the game."""
    device: str = "auto"
    """Device for the agents: auto, cpu, cuda or mps."""


@dataclasses.dataclass(frozen=True)
class MixAgent:
    """One of the agents; its policy is loaded at its first use and kept."""

    weights: Path
    model: Path
    device: str

    @functools.cached_property
    def policy(self) -> GoalPolicy:
        """The policy on its device."""
        return load_policy(str(self.model), self.weights, device=str(choose_device(self.device)), from_vpt=True)

    @functools.cached_property
    def facts(self) -> dict[str, str]:
        """For the metadata of its episodes."""
        return {"weights": display(self.weights), "sha256": sha256_file(self.weights), "model": display(self.model)}

    @property
    def name(self) -> str:
        """The file's name without its ending and without the separators of folder names."""
        return self.weights.stem.replace(",", "-").replace("[", "-").replace("]", "-")


def _agent_names(words: Sequence[str]) -> list[str]:
    """The files that the words name: each word a file, or several with semicolons between; a single word also with blanks between."""
    between = None if len(words) == 1 and ";" not in words[0] else ";"
    names = [name.strip() for word in words for name in word.split(between)]
    return [name for name in names if name]


def find_agents(args: Args) -> list[MixAgent]:
    """The agents, whose files are checked before anything is loaded.

    Raises:
        UserError: fewer than two agents, a missing file, or settings that cannot be used.
    """
    names = _agent_names(args.agents)
    if len(names) < 2:
        got = ", ".join(names) or "none"
        raise UserError("Two agents are needed.", got=got, expected="--agents A.weights B.weights")
    args.check()
    found = []
    for name in names:
        weights = existing_file(name, "These weights")
        model = args.in_model or read_checkpoint_metadata(weights).model
        model_file = existing_file(model, f"The model settings of {display(weights)}", "pass --in_model")
        found.append(MixAgent(weights, model_file, args.device))
    return found


def main(args: Args, open_env: Callable[[], Env] | None = None) -> None:
    """Play what is missing. `open_env` replaces the game (tests)."""
    pairs = list(itertools.combinations(find_agents(args), 2))
    folder = output_path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
    with SupervisedEnv(open_env or (lambda: make_env(args.env)), max_restarts=args.max_restarts) as game:
        for number in progress(range(args.n_episodes), desc=message("bar episodes"), unit="ep"):
            pair = pairs[int(generator(args.seed, "pair", number).integers(len(pairs)))]
            if there := find_mixed(folder, number):
                if differing := differences(there, args, pair, number):
                    print(
                        translated(
                            f"  note     {there.name}: {', '.join(map(translated, differing))}; it stays as it is: name another --output_dir for new ones"
                        )
                    )
                continue
            print(translated(f"wrote {display(one_episode(game, args, pair, folder, number))}"))
    say_next(f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(folder)}")


def differences(path: Path, args: Args, pair: tuple[MixAgent, MixAgent], number: int) -> list[str]:
    """In what an episode that is there differs from the one that would be played now."""
    known = Episode(path).metadata
    seeds = [mixed_seed(args.seed + _ELSEWHERE * attempt, number) for attempt in range(args.attempts)]
    pairs = {
        field.name: (known.get("settings", {}).get(field.name), getattr(args, field.name))
        for field in dataclasses.fields(MixSettings)
    }
    pairs["env"] = (known.get("env"), args.env)
    found = [f"{name} {then} (now {now})" for name, (then, now) in pairs.items() if json.dumps(then) != json.dumps(now)]
    agents = known.get("agent_files", [])
    if [agent.get("sha256") for agent in agents] != [agent.facts["sha256"] for agent in pair]:
        then, now = (
            " and ".join(files)
            for files in ([a.get("weights", "?") for a in agents], [a.facts["weights"] for a in pair])
        )
        found.append(f"played by {then} (now of other content)" if then == now else f"played by {then} (now {now})")
    return found + ([] if known.get("seed") in seeds else [f"another seed than {args.seed}"])


def one_episode(game: SupervisedEnv, args: Args, pair: tuple[MixAgent, MixAgent], folder: Path, number: int) -> Path:
    """Play one episode that is long enough.

    Raises:
        UserError: none was, in as many attempts as allowed.
    """
    one, two = pair
    agents = Agent(one.policy, cond_scale=0.0), Agent(two.policy, cond_scale=0.0)
    metadata = {"env": args.env, "agent_files": [one.facts, two.facts]}
    options = {"biome": args.biome}
    for attempt in range(args.attempts):
        seed = args.seed + _ELSEWHERE * attempt

        def play(env: Env, seed: int = seed) -> Path | None:
            return mixed_episode(env, agents, (one.name, two.name), folder, number, seed, args, options, metadata)

        path = game.episode(play)
        if path is not None:
            return path
    where, todo = f"episode {number}, {args.attempts} attempts", "lower --min_timesteps, or choose a safer --biome"
    raise UserError("No episode was long enough.", where=where, expected=f"{args.min_timesteps} steps", todo=todo)
