"""Fuzzing of the media layer: mutation of whole files through the sandbox, and guided fuzzing of the parsers."""
