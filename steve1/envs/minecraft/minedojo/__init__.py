"""Minecraft 1.11.2 through MineDojo, with its programmatic tasks and its own signals of success."""
