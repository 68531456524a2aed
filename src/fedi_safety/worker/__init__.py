"""The other end of a gate: judges its uploads on another machine."""
