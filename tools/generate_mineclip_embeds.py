"""Goal embeddings for a dataset folder: python tools/generate_mineclip_embeds.py --dataset_dir data/dataset_x/"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.embed import cli

if __name__ == "__main__":
    cli()
