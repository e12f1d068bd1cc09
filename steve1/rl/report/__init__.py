"""The report of a run of reinforcement learning: its charts, what to do next, and films of its best-paid and worst-paid episodes."""
