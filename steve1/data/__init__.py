"""Datasets: recordings become episodes, and episodes become batches of windows with hindsight goals.

Input: videos with recorded ticks, and episode folders in several formats.
Output: native episodes, sampling lists, batches.
"""

from steve1.data.episodes.episode import Episode, write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.loading.goals import hindsight_goals

__all__ = ["Episode", "EpisodeWriter", "hindsight_goals", "write_goals"]
