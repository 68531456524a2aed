"""The daemon: a store's cycles, file events, the health file."""
