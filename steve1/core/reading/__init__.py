"""Reads files of unknown origin: what a file holds by its first bytes, texts that people wrote, and pickles, of which nothing runs."""
