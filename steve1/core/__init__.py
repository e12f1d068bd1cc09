"""Room `core`: what every other room stands on.

In: nothing of ours. Out: errors people can act on, atomic files, one restricted pickle reader,
seeded random streams, the one frame transform, progress bars, paths and the command-line frame.
Must not import torch: data conversion and the commands' `--help` stay fast.
"""
