"""One file for each command: parse, check, call. What loads torch is imported inside `main`, so that `--help` need not wait."""
