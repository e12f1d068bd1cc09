"""Play a prompt and film it: `python run_agent/run_agent.py --in_weights … --text_prompt … --save_video …` (`--help` lists all options; the same as `steve1 play`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("play")
