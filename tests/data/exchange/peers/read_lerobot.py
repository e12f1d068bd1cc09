"""Runs in LeRobot's own environment: reads a dataset with its own class and prints what it saw as JSON. No test by itself."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, frames = sys.argv[1], json.loads(sys.argv[2])
picture = "observation.images.pov"
dataset = LeRobotDataset(
    "local/set", root=root, video_backend="pyav", delta_timestamps={picture: [-0.05, 0], "action": [0, 0.05, 0.1]}
)
items = []
for number in frames:
    item = dataset[number]
    items.append(
        {
            "episode": int(item["episode_index"]),
            "frame": int(item["frame_index"]),
            "task": item["task"],
            "action": item["action"][0].tolist(),
            "next": item["action"][1].tolist(),
            "padded": item["action_is_pad"].tolist(),
            "picture": item[picture][-1].mul(255).round().byte().permute(1, 2, 0).flatten().tolist(),
        }
    )
known = {
    "versions": {name: version(name) for name in ("lerobot", "torch", "av", "datasets", "pandas")},
    "episodes": dataset.num_episodes,
    "frames": dataset.num_frames,
    "fps": dataset.meta.fps,
    "stats": sorted(dataset.meta.stats or {}),
    "items": items,
}
print(json.dumps(known))
