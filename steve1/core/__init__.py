"""What every other package stands on: errors, whole files, foreign files, paths, seeds, frames, weights' metadata and the command line."""
