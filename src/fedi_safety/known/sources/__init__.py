"""Where lists are had from: one row a kind. What comes from them is brought onto lists by `fetching`."""

from __future__ import annotations

from fedi_safety.known.sources.kinds import Asking, ListSource, Page, SourceKind
from fedi_safety.known.sources.url import fetch_url

KINDS = {kind.name: kind for kind in (SourceKind("url", "a file of hashes at an address", fetch_url),)}

__all__ = ["KINDS", "Asking", "ListSource", "Page", "SourceKind"]
