"""The parts of the daemon: a store's cycles, file events, systemd, the health file. None starts by itself."""
