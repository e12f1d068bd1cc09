"""Makes episodes in which two VPT agents play in turns, with spins between: `gen_mixed_agents` of STEVE-1, in any environment.

In: two or more weights files. Out: native episodes under --output_dir, ready for `tools/generate_mineclip_embeds.py`. The same command
again goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.messages import progress
from steve1.core.paths import display, output_path, resolve
from steve1.core.seeds import generator
from steve1.rollout.mixed import MixSettings, Player, find_mixed, mixed_episode
from steve1.rollout.supervise import SupervisedEnv


@dataclasses.dataclass(frozen=True)
class Args:
    """Two agents in turns."""

    agents: tuple[str, ...]
    """Weights of two or more agents, VPT's or others'; each episode takes two of them. One file twice is allowed."""
    output_dir: str = "data/dataset_mixed_agents"
    """Folder for the episodes."""
    env: str = "luanti"
    """The game: luanti, mcio, minerl, minedojo, minestudio."""
    n_episodes: int = 5
    """How many episodes to have at the end, those included that are there already."""
    max_timesteps: int = 7200
    """Longest episode, 20 steps a second."""
    min_timesteps: int = 1000
    """Shorter ones (the player died early) are played again elsewhere."""
    switch_agent_prob: float = 1 / 1000
    """Chance at each step that the other agent takes over; beside one trained by RL the published 1/3000 and 1/1000 are taken."""
    perform_spin_prob: float = 1 / 750
    """Chance at each step that the player spins around."""
    spin_speed: tuple[float, float] = (5.0, 10.0)
    """Degrees a tick of a spin; more than 10 cannot be labelled."""
    same_rates: bool = False
    """Take --switch_agent_prob also beside an agent trained by RL."""
    in_model: str = ""
    """The .model file for all; default: the one that belongs to each weights file, else the published 2x."""
    biome: str = "meadow"
    """Where episodes begin; for minedojo a task's id."""
    seed: int = 0
    """Everything random follows from it and the episode's number."""
    attempts: int = 6
    """Tries for one episode that ends too early."""
    max_restarts: int = 10
    """Crashes of the game, over the whole run, after which it stops."""
    device: str = "auto"
    """Where the agents run."""

    def settings(self) -> MixSettings:
        """The part that an episode needs."""
        return MixSettings(
            max_timesteps=self.max_timesteps, min_timesteps=self.min_timesteps, switch_prob=self.switch_agent_prob,
            spin_prob=self.perform_spin_prob, spin_speed=self.spin_speed, same_rates=self.same_rates,
        )  # fmt: skip


def check(args: Args) -> list[tuple[Path, Path]]:
    """(weights, model) of each agent, found before anything is loaded.

    Raises:
        UserError: fewer than two agents, a missing file, or settings that cannot be used.
    """
    if len(args.agents) < 2:
        raise UserError(
            "Two agents are needed.", got=", ".join(args.agents) or "none", expected="--agents A.weights B.weights"
        )
    args.settings().check()
    found = []
    for name in args.agents:
        weights = resolve(name)
        if not weights.is_file():
            raise UserError(
                "These weights do not exist.",
                where=weights,
                todo="bash 0_download_weights.sh vpt_model vpt vpt_foundation",
            )
        model = resolve(args.in_model or read_checkpoint_metadata(weights).model)
        if not model.is_file():
            raise UserError(
                "The model settings of these weights do not exist.",
                where=model,
                got=display(weights),
                todo="pass --in_model, or bash 0_download_weights.sh vpt_model",
            )
        found.append((weights, model))
    return found


class Cast:
    """The agents, each policy loaded at its first use and kept."""

    def __init__(self, files: list[tuple[Path, Path]], device: str) -> None:
        self.files, self.device = files, device
        self._policies: dict[int, Any] = {}

    def agent(self, index: int) -> Player:
        """A fresh agent (its memory its own) on a shared policy."""
        from steve1.agent import Agent
        from steve1.core.device import choose_device
        from steve1.policy import load_policy

        if index not in self._policies:
            weights, model = self.files[index]
            self._policies[index] = load_policy(
                str(model), weights, device=str(choose_device(self.device)), from_vpt=True
            )
        return Agent(self._policies[index], cond_scale=0.0)

    def facts(self, index: int) -> dict[str, str]:
        """What an episode's metadata says of an agent."""
        weights, model = self.files[index]
        return {"weights": display(weights), "sha256": sha256_file(weights), "model": display(model)}


def name_of(weights: Path) -> str:
    """A name for folders: the file's, without its ending and without what separates names there."""
    return weights.stem.replace(",", "-").replace("[", "-").replace("]", "-")


def main(args: Args, open_env: Any = None) -> None:
    """Play what is missing. `open_env` replaces the game (tests)."""
    from steve1.envs import make_env

    files = check(args)
    folder, cast = output_path(args.output_dir), Cast(files, args.device)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(itertools.combinations(range(len(files)), 2))
    facts = [cast.facts(index) for index in range(len(files))]
    with SupervisedEnv(open_env or (lambda: make_env(args.env)), max_restarts=args.max_restarts) as game:
        for number in progress(range(args.n_episodes), desc="episodes", unit="ep"):
            if find_mixed(folder, number):
                continue
            pair = pairs[int(generator(args.seed, "pair", number).integers(len(pairs)))]
            path = one_episode(game, args, cast, pair, folder, number, facts)
            print(f"wrote {display(path)}")
    print(f"next: python tools/generate_mineclip_embeds.py --dataset_dir {display(folder)}")


def one_episode(
    game: SupervisedEnv,
    args: Args,
    cast: Cast,
    pair: tuple[int, int],
    folder: Path,
    number: int,
    facts: list[dict[str, str]],
) -> Path:
    """One episode that is long enough.

    Raises:
        UserError: none was, in as many attempts as allowed.
    """
    agents = (cast.agent(pair[0]), cast.agent(pair[1]))
    names = (name_of(cast.files[pair[0]][0]), name_of(cast.files[pair[1]][0]))
    metadata = {"env": args.env, "agent_files": [facts[index] for index in pair]}
    options = {"biome": args.biome}
    for attempt in range(args.attempts):
        # Another attempt is another place.
        seed = args.seed + 1_000_003 * attempt

        def play(env: Any, seed: int = seed) -> Path | None:
            return mixed_episode(env, agents, names, folder, number, seed, args.settings(), options, metadata)

        path = game.episode(play)
        if path is not None:
            return path
    raise UserError(
        "No episode was long enough.", where=f"episode {number}, {args.attempts} attempts", expected=f"{args.min_timesteps} steps",
        todo="lower --min_timesteps, or choose --biome where less can happen to the player",
    )  # fmt: skip
