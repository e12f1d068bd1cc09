"""Data: recordings in, windows of training frames out.

Comes in: videos with recorded ticks, and episode folders in three layouts. Goes out: native episodes, sampling lists,
and batches of windows with hindsight goals. Knows no game.
"""

from steve1.data.episodes.episode import Episode, EpisodeWriter, write_goals
from steve1.data.loading.goals import hindsight_goals

__all__ = ["Episode", "EpisodeWriter", "hindsight_goals", "write_goals"]
