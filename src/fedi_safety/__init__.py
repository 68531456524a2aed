"""fedi-safety keeps illegal imagery off fediverse servers: it scans, judges, removes and remembers."""

__version__ = "0.1.0"
