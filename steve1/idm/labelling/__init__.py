"""A folder of videos without actions → episodes with labels, and a report of how far the labels can be trusted."""
