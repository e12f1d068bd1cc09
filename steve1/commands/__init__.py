"""Room `commands`: one short file per command: parse, check, call."""
