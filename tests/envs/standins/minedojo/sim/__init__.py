"""What `minedojo.sim` offers of inventories."""

from __future__ import annotations

from typing import NamedTuple


class InventoryItem(NamedTuple):
    slot: str | int
    name: str
    variant: int | None = None
    quantity: int | None = None
