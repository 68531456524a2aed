"""Directories of another machine, over SSH."""
