"""The agent: a policy that acts in games, with guidance, memory and seeded sampling."""

from steve1.agent.agent import Agent

__all__ = ["Agent"]
