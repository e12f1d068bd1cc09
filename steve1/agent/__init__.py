"""The agent: a policy acting in a game, with guidance, memory and seeded draws.

Comes in: frames and goals. Goes out: MineRL actions.
"""

from steve1.agent.agent import Agent
from steve1.agent.batch import BatchAgent
from steve1.agent.memory import RingMemory
from steve1.agent.recorded import RecordedAgent

__all__ = ["Agent", "BatchAgent", "RecordedAgent", "RingMemory"]
