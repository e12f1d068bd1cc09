"""Imported, it lets this process and those that are forked from it go on without waiting for the disk.

What a killed process has written, the system has, and no test cuts the power. That files are brought to the disk, and in which order,
is tested in tests/core/test_deletions.py.
"""

from __future__ import annotations

import os

os.fsync = lambda fd: None
os.sync = lambda: None
