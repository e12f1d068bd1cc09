"""What every other package stands on: errors, whole files, paths, seeds, frames, weights' metadata and the command line."""
