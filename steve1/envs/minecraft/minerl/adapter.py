"""MineRL 1.0 behind the worker protocol: the environment that VPT and STEVE-1 were trained for.

Runs in MineRL's own Python. Uses what the package offers publicly: HumanSurvival and its hooks, the handlers, and an environment's seed, reset, step and close.
"""

from __future__ import annotations

from typing import Any, Mapping

from steve1.envs.minecraft.malmo.game import BUTTONS, MalmoGame, java_pids, number, stacks, start_place, start_ticks
from steve1.envs.worker.serve import Action, BadInput, GameFault, Info, Observation, Step, report

# What the policy was trained on; another value of any of them is another picture.
LOOK = {
    "fov_range": [70, 70], "gamma_range": [2, 2], "guiscale_range": [1, 1], "cursor_size_range": [16.0, 16.0], "frameskip": 1,
}  # fmt: skip


def _package() -> Any:
    """The package's public parts.

    Raises:
        BadInput: it is not MineRL 1.0.
    """
    import minerl

    try:
        from minerl.herobraine.env_specs.human_survival_specs import HumanSurvival
        from minerl.herobraine.hero import handlers
    except ImportError as fault:
        raise BadInput(
            "The MineRL in this environment is not 1.0: it has no HumanSurvival.",
            where=getattr(minerl, "__file__", ""),
            got=fault,
            expected="minerl 1.0, which is not on PyPI",
            todo="bash tools/install_minecraft.sh minerl",
        ) from None
    return HumanSurvival, handlers


def make_spec(width: int, height: int) -> Any:
    """A HumanSurvival whose start is set for each reset through its attribute `chosen`."""
    base, handlers = _package()

    class Survival(base):  # type: ignore[misc, valid-type]
        def __init__(self, **more: Any) -> None:
            self.chosen: dict[str, Any] = {}
            super().__init__(**more)

        def create_agent_start(self) -> list[Any]:
            start = list(super().create_agent_start())
            chosen = self.chosen
            if chosen.get("inventory"):
                items = [{"type": name, "quantity": count} for name, count in stacks(chosen["inventory"])]
                start.append(handlers.SimpleInventoryAgentStart(items))
            if chosen.get("place"):
                start.append(handlers.AgentStartPlacement(**chosen["place"]))
            elif chosen.get("biome"):
                start.append(handlers.PreferredSpawnBiome(chosen["biome"]))
            # Death ends the episode, as it does for MineRL's own BASALT tasks.
            start.append(handlers.DoneOnDeath())
            return start

        def create_server_initial_conditions(self) -> list[Any]:
            ticks = self.chosen.get("ticks")
            if ticks is None:
                return list(super().create_server_initial_conditions())
            return [
                handlers.TimeInitialCondition(allow_passage_of_time=True, start_time=ticks),
                handlers.SpawningInitialCondition(allow_spawning=True),
            ]

    try:
        return Survival(resolution=[width, height], **LOOK)
    except TypeError as fault:
        raise BadInput(
            "This MineRL's HumanSurvival does not take the settings of 1.0.",
            expected=", ".join(LOOK),
            got=fault,
            todo="bash tools/install_minecraft.sh minerl",
        ) from None


class MineRLGame(MalmoGame):
    """One Minecraft 1.16.5 under MineRL."""

    package, version, manager = "minerl", "1.16.5", "minerl.env.malmo"

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.spec = make_spec(self.width, self.height)
        report("starting Minecraft 1.16.5 (MineRL); the first start of all takes minutes")
        self.env = self.spec.make()
        self.env.seed(0)
        self.env.reset()  # a seed given before the very first reset is ignored
        self._javas = java_pids()

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        self.spec.chosen = {
            "inventory": options.get("inventory") or {},
            "place": start_place(options),
            "biome": self.spawn_biome(options),
            "ticks": start_ticks(options),
        }

        def reset() -> Any:
            self.env.seed(int(seed))
            return self.env.reset()

        obs = self.reset_package(seed, reset)
        self._tally.begin(obs)
        return self._seen(obs, {})

    def step(self, action: Action) -> Step:
        obs, reward, done, info = self.env.step({"ESC": 0, **self.given(action, BUTTONS)})
        if "error" in info:
            # MineRL goes on with a random observation and done=True, as if the episode had ended.
            raise GameFault("MineRL lost its Minecraft: {}".format(info["error"]))
        seen, facts = self._seen(obs, info)
        dead = facts["health"] <= 0 or not facts["alive"]
        return seen, float(reward), bool(done and dead), bool(done and not dead), facts

    def _seen(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[Observation, Info]:
        gui = info.get("isGuiOpen", obs.get("isGuiOpen", False))
        place = obs.get("location_stats") or info.get("location_stats") or {}
        seen, facts = self.observed(obs["pov"], obs.get("inventory") or {}, place, gui, obs)
        life = obs.get("life_stats", {})
        facts["health"] = number(life.get("life", 20.0))
        facts["alive"] = bool(number(life.get("is_alive", True)))
        facts["air"] = int(number(life.get("air", 300)))
        return seen, facts

    def close(self) -> None:
        self.env.close()


make_env = MineRLGame
