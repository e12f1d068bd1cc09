"""Measurements of speed and memory: `python -m benchmarks NAME`."""

from steve1.__main__ import find_packages

find_packages()
