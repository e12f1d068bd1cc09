"""Fine-tuning a goal-conditioned policy on windows of episodes.

Input: settings, starting weights, sampling lists. Output: weights, checkpoints, curves. Imports no game.
"""
