"""torchrun for `PROCESSES=2 bash 3_train_….sh`: where a process fails, what it says is all that is said, and its exit code is this program's."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import find_packages


def main() -> int:
    """Start the processes that the command line asks for, and wait for them."""
    from torch.distributed import run  # here and below: they may not be installed yet
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Its own lines, of which each module has a logger with a level of its own.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.run")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run.main(sys.argv[1:])
    except ChildFailedError as fault:
        code: int = fault.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as stop:  # Ctrl-C, which the processes have told
        return 128 + int(stop.sigval)
    return 0


if __name__ == "__main__":
    find_packages()
    sys.exit(main())
