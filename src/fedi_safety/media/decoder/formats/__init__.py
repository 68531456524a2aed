"""One file per format: bytes -> pictures."""
