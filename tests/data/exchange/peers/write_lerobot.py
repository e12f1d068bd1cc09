"""Runs in LeRobot's own environment: writes a small dataset with its own writer. No test by itself."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, names = sys.argv[1], json.loads(sys.argv[2])
picture = "observation.images.front"
dataset = LeRobotDataset.create(
    "local/set",
    fps=20,
    root=root,
    robot_type="minecraft",
    features={
        picture: {"dtype": "video", "shape": (128, 128, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (len(names),), "names": names},
    },
)
for episode, length in enumerate((20, 15)):
    for number in range(length):
        action = np.zeros(len(names), np.float32)
        action[0], action[-2:] = number % 2, (-episode, number / 10)
        shade = np.full((128, 128, 3), (episode * 60 + 20, number * 5, 0), np.uint8)
        dataset.add_frame({picture: shade, "action": action, "task": ["dig dirt", "explore"][episode]})
    dataset.save_episode()
dataset.finalize()
print(json.dumps({"versions": {name: version(name) for name in ("lerobot", "torch", "av")}}))
