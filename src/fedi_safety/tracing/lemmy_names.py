"""By what names Lemmy's records call a picture: pict-rs' aliases, and addresses that they are part of. Pure.

A file's own path is none of them: Lemmy knows pict-rs' names for it and never where it lies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from fedi_safety.core.sightings import Certainty, Subject

MOST_ALIASES = 1000  # pict-rs gives one for each upload of the same picture
_MOST_ORIGINS = 100
_MOST_URL = 2000  # of characters; Lemmy stores none that is longer
_SHORTEST_ORIGIN = 12
# A UUID with an ending today; pict-rs 0.1 had ten letters and digits.
_ALIAS = r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}(?:\.[A-Za-z0-9]{2,5})?"
_SHOWN = re.compile(rf"(?:^|/)(?:pictrs|api/v[34](?:/pictrs)?)/image/({_ALIAS})\Z")
_PROXY = re.compile(r"(?:^|/)api/(?:v3/image_proxy|v4/image/proxy)\Z")
_PLACES = ("pictrs/image", "api/v4/image")
_PROXIES = ("api/v3/image_proxy", "api/v4/image/proxy")
# As Lemmy's own interface and other programs write them into posts.
_QUERIES = (
    "",
    "?format=webp",
    "?format=jpg",
    "?format=jpeg",
    "?format=png",
    *(f"?format=webp&thumbnail={size}" for size in (96, 128, 196, 256, 512, 1024)),
    *(f"?thumbnail={size}&format=webp" for size in (96, 256, 1024)),
    "?thumbnail=256",
    "?file_type=webp",
    *(f"?file_type=webp&max_size={size}" for size in (96, 128, 196, 256, 512, 1024)),
)
# What may not follow a name in a text, lest it be a longer one's beginning. An alias may have a query behind it.
_NOT_AFTER_ALIAS = r"(?![0-9A-Za-z_-]|\.[0-9A-Za-z])"
_NOT_AFTER_ORIGIN = r"(?![0-9A-Za-z_/?%-]|\.[0-9A-Za-z])"

UNNAMED = "Lemmy knows a file by pict-rs' names, and those are not known: set `pictrs.url` and `pictrs.api_key`"
"""Why Lemmy cannot tell of a subject without names."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a picture may be called by: `aliases` of pict-rs', and `origins` that it is a proxied copy of."""

    aliases: tuple[str, ...]
    origins: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.aliases or self.origins)


def names_of(subject: Subject) -> Names:
    """Return a subject's names: those that pict-rs told, and what its path or address says by itself.

    What can be no alias or address is left out, and so is what is too short to stand for one picture alone.
    """
    aliases = dict.fromkeys(alias for alias in subject.aliases if re.fullmatch(_ALIAS, alias))
    origins = dict.fromkeys(subject.origins)
    if (alias := alias_in(subject.path)) is not None:
        aliases[alias] = None
    if subject.url is not None:
        origins |= dict.fromkeys(_proxied(subject.url))
    usable = [origin for origin in origins if _SHORTEST_ORIGIN <= len(origin) <= _MOST_URL and origin.isprintable()]
    return Names(tuple(aliases)[:MOST_ALIASES], tuple(usable)[:_MOST_ORIGINS])


def alias_in(path: str | None) -> str | None:
    """Return the alias that ends a path as Lemmy serves pictures; None where there is none."""
    found = None if path is None else _SHOWN.search(path[-200:])
    return None if found is None else found[1]


def _proxied(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        return parse_qs(parts.query).get("url", []) if _PROXY.search(parts.path) else []
    except ValueError:
        return []


@dataclass(frozen=True, slots=True)
class Question:
    """Names of one sort in every form that a record may have them in, and how sure such a record makes it.

    `addresses` are whole columns; `texts` stand within what somebody wrote, and `end` is a regular expression, for
    Python and PostgreSQL alike, of what must come after one.
    """

    certainty: Certainty
    aliases: tuple[str, ...]
    origins: tuple[str, ...]
    addresses: tuple[str, ...]
    texts: tuple[str, ...]
    end: str


def questions(names: Names, roots: Sequence[str]) -> list[Question]:
    """Return what to look for on the server whose addresses begin with one of `roots`."""
    asked = []
    if names.aliases:
        shown = tuple(a for alias in names.aliases for root in roots for a in _addresses_of_alias(alias, root))
        texts = tuple(f"/image/{alias}" for alias in names.aliases)  # whichever host it names
        asked.append(Question(Certainty.CERTAIN, names.aliases, (), shown, texts, _NOT_AFTER_ALIAS))
    if names.origins:
        proxied = (
            f"{root}/{proxy}?url={quote(origin, safe='')}"
            for origin in names.origins
            for root in roots
            for proxy in _PROXIES
        )
        forms = dict.fromkeys(form for origin in names.origins for form in (origin, quote(origin, safe="")))
        shown = (*names.origins, *proxied)
        asked.append(Question(Certainty.LIKELY, (), names.origins, shown, tuple(forms), _NOT_AFTER_ORIGIN))
    return asked


def _addresses_of_alias(alias: str, root: str) -> list[str]:
    return [f"{root}/{place}/{alias}{query}" for place in _PLACES for query in _QUERIES]


def host_of(url: str) -> str | None:
    """Return the host of an address; None where it has none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
