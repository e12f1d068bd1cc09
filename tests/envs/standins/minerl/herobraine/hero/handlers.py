"""The handlers of MineRL 1.0 that start a mission: names and arguments as published; what they say is kept in `facts`."""

from __future__ import annotations

from typing import Any


class Handler:
    def __init__(self, **facts: Any) -> None:
        self.facts = facts


class LowLevelInputsAgentStart(Handler):
    def __init__(self) -> None:
        super().__init__()


class GuiScale(Handler):
    def __init__(self, gui_scale: float = 2) -> None:
        super().__init__(gui=gui_scale)


class GammaSetting(Handler):
    def __init__(self, gamma_setting: float = 2.0) -> None:
        super().__init__(gamma=gamma_setting)


class FOVSetting(Handler):
    def __init__(self, fov_setting: float = 130.0) -> None:
        super().__init__(fov=fov_setting)


class FakeCursorSize(Handler):
    def __init__(self, size: int = 16) -> None:
        super().__init__(cursor=size)


class SimpleInventoryAgentStart(Handler):
    def __init__(self, inventory: list[dict[str, Any]]) -> None:
        super().__init__(inventory=[(item["type"], item["quantity"]) for item in inventory])


class AgentStartPlacement(Handler):
    def __init__(self, x: float, y: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> None:
        super().__init__(place=(x, y, z, yaw, pitch))


class PreferredSpawnBiome(Handler):
    def __init__(self, biome: str) -> None:
        super().__init__(biome=biome)


class DoneOnDeath(Handler):
    def __init__(self) -> None:
        super().__init__(done_on_death=True)


class TimeInitialCondition(Handler):
    def __init__(self, allow_passage_of_time: bool, start_time: int | None = None) -> None:
        super().__init__(start_time=start_time)


class SpawningInitialCondition(Handler):
    def __init__(self, allow_spawning: bool) -> None:
        super().__init__()
