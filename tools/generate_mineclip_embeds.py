"""Goal embeddings for a dataset: `python tools/generate_mineclip_embeds.py --dataset_dir data/dataset_x/` (`--help` lists all options; the same as `steve1 embed`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("embed")
