"""The stores that episodes are exported to. A new one is a `StoreWriter` and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steve1.data.exchange.lerobot.write import WriterV3, WriterV21
from steve1.data.exchange.minestudio.write import MineStudioWriter
from steve1.data.exchange.store import StoreWriter

#: by name on the command line
STORES: dict[str, Callable[[Path], StoreWriter]] = {
    "lerobot-v3": WriterV3,
    "lerobot-v2.1": WriterV21,
    "minestudio": MineStudioWriter,
}
