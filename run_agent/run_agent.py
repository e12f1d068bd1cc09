"""Play a prompt and film it: python run_agent/run_agent.py --in_weights … --text_prompt … --save_video … (--help has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.play.play import cli

if __name__ == "__main__":
    cli()
