"""The mouse pointer that no game draws into its picture: the same drawing as conversion's, from core."""

from steve1.core.cursor import draw_cursor

__all__ = ["draw_cursor"]
