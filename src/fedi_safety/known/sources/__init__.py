"""Where lists are had from: one row a kind. What comes from them is brought onto lists by `fetching`."""

from __future__ import annotations

from fedi_safety.known.sources import arachnid, stopncii, terrorism
from fedi_safety.known.sources.hma import fetch_hma
from fedi_safety.known.sources.kinds import Asking, ListSource, Page, SourceKind
from fedi_safety.known.sources.ncmec import fetch_ncmec
from fedi_safety.known.sources.url import fetch_url

KINDS = {
    kind.name: kind
    for kind in (
        SourceKind("url", "a file of hashes at an address", fetch_url),
        SourceKind("ncmec", "NCMEC's hash sharing", fetch_ncmec, agreement=True),
        SourceKind("stopncii", "StopNCII", stopncii.fetch_stopncii, agreement=True, url=stopncii.URL),
        SourceKind(
            "tech_against_terrorism",
            "Tech Against Terrorism's hash list",
            terrorism.fetch_terrorism,
            agreement=True,
            url=terrorism.URL,
        ),
        SourceKind("hma", "the banks of a Hasher-Matcher-Actioner", fetch_hma),
        SourceKind(
            "arachnid_shield", "Arachnid Shield", arachnid.fetch_arachnid, agreement=True, sends=True, url=arachnid.URL
        ),
    )
}

__all__ = ["KINDS", "Asking", "ListSource", "Page", "SourceKind"]
