"""A domain policy that a server can import, suggested by where condemned contents came from. Pure: it blocks nobody.

It is for a person to read first. An interval says what a count may mean, not that an instance is to blame.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fedi_safety.core.enums import PolicyServer
from fedi_safety.core.sightings import Source, host_name
from fedi_safety.reports.facts import percent, wilson

LEAST_CONTENTS = 5
LEAST_SHARE = 0.05

_DOMAIN_CHARS = 253
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.ASCII)
_COLUMNS = ("#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment", "#obfuscate")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The sources whose domains a policy names, most first, and for what reasons how many others are left out."""

    sources: tuple[Source, ...]
    left_out: Counter[str]


def suggested(
    sources: Iterable[Source],
    own: str | None,
    *,
    least_contents: int = LEAST_CONTENTS,
    least_share: float = LEAST_SHARE,
) -> Suggestion:
    """Choose the instances that a domain policy names: remote ones with a domain, from which enough surely came.

    Enough are `least_contents` contents, and `least_share` of all that was traced as the lower end of the interval at
    95 %. `own` is the host of this server: neither it nor a domain above it is ever named.
    """
    chosen: list[Source] = []
    left_out: Counter[str] = Counter()
    for source in sources:
        reason = _reason(source, None if own is None else host_name(own), least_contents, least_share)
        if reason is None:
            chosen.append(source)
        else:
            left_out[reason] += 1
    return Suggestion(tuple(chosen), left_out)


def _reason(source: Source, own: str | None, least_contents: int, least_share: float) -> str | None:
    if source.local or (own is not None and f".{own}".endswith(f".{source.name}")):
        return "your own"
    if source.local is None:
        return "not known to be remote"
    if len(source.name) > _DOMAIN_CHARS or _DOMAIN.fullmatch(source.name) is None:
        return "without a domain that can be named"
    if source.contents < least_contents:
        return f"with fewer than {least_contents} contents"
    if wilson(source.contents, source.of)[0] < least_share:
        return f"whose share may be below {percent(least_share)}"
    return None


def _for_mastodon(names: list[str]) -> str:
    """Return the CSV of Mastodon's page for importing domain blocks. It knows no comments: each line is a domain.

    `noop` with rejected media is the mildest limit that keeps their media out. `suspend` would delete accounts, posts
    and follows. The comment would be public, so it says nothing.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((name, "noop", "true", "false", "", "false") for name in names)
    return text.getvalue()


def _for_lemmy(names: list[str]) -> str:
    """Return a JSON list of what Lemmy 1.0 takes, one at a time, at `POST /api/v4/admin/instance/block`.

    The reason is not optional there and stands in the public log of moderation, so it blames nobody.
    """
    bodies = [{"instance": name, "block": True, "reason": "moderation of media"} for name in names]
    return "[" + ",".join(f"\n  {json.dumps(body)}" for body in bodies) + ("\n" if bodies else "") + "]\n"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a server takes a policy. `effect` is what it does once a person has imported it: a clause for people."""

    effect: str
    render: Callable[[list[str]], str]


_KINDS = {
    PolicyServer.MASTODON: _Kind("their media are rejected, nothing else is limited", _for_mastodon),
    PolicyServer.LEMMY: _Kind("they are blocked, for Lemmy has no milder measure", _for_lemmy),
}
"""Every server for which there is a policy. A row here and its word in `PolicyServer` are what a new one needs."""


def effect(server: PolicyServer) -> str:
    """Return what a server does with a policy once a person has imported it: a clause for people."""
    return _KINDS[server].effect


def render(server: PolicyServer, suggestion: Suggestion) -> str:
    """Return the file as the server takes it."""
    return _KINDS[server].render([source.name for source in suggestion.sources])
