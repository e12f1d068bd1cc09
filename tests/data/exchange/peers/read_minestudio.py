"""Runs in MineStudio's own environment: reads a store with its own class and prints what it saw as JSON. No test by itself."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from minestudio.data import RawDataset
from minestudio.data.minecraft.callbacks import ActionKernelCallback, ImageKernelCallback, MetaInfoKernelCallback

root, windows = sys.argv[1], json.loads(sys.argv[2])
dataset = RawDataset(
    dataset_dirs=[root],
    modal_kernel_callbacks=[ImageKernelCallback(128, 128), ActionKernelCallback(), MetaInfoKernelCallback()],
    win_len=32,
    split="train",
    split_ratio=1.0,
)
items = []
for number in windows:
    item = dataset[number]
    items.append(
        {
            "episode": item["episode"],
            "start": int(item["timestamp"][0]),
            "mask": int(item["mask"].sum()),
            "attack": [int(value) for value in item["env_action"]["attack"]],
            "camera": [[float(value) for value in row] for row in item["env_action"]["camera"]],
            "buttons": [int(value) for value in item["agent_action"]["buttons"].reshape(-1)],
            "picture": [int(value) for value in item["image"][0].reshape(-1)],
        }
    )
print(
    json.dumps(
        {
            "versions": {name: version(name) for name in ("minestudio", "av", "lmdb")},
            "length": len(dataset),
            "items": items,
        }
    )
)
