"""Trains an inverse dynamics model on episodes whose actions are known."""
