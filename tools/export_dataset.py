"""Episodes → the layouts of other programs: `python tools/export_dataset.py PATH --to guide --output_dir …` (`--help` lists all options; the same as `steve1 export_dataset`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("export_dataset")
