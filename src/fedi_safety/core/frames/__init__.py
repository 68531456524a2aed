"""Frames: where in its medium one is found, and what each was given. Pure data; nothing here does I/O."""
