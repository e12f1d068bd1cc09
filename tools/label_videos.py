"""Videos without actions → labelled episodes: `python tools/label_videos.py --videos_dir … --output_dir …` (`--help` lists all options; the same as `steve1 label_videos`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("label_videos")
