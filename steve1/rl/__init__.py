"""Reinforcement learning from a policy that already plays: play, judge, weight each frame, imitate by weight."""
