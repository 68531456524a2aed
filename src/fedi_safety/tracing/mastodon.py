"""Mastodon and glitch-soc: whose a stored file is, by the path that they give it. It asks no server.

The path names class and id of the record that the file belongs to; only the server knows which post shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import Address, read_address

_KINDS = {
    ("media_attachments", "files"): SightingKind.UPLOAD,
    ("media_attachments", "thumbnails"): SightingKind.UPLOAD,
    ("accounts", "avatars"): SightingKind.AVATAR,
    ("accounts", "headers"): SightingKind.BANNER,
    ("custom_emojis", "images"): SightingKind.EMOJI,
    ("preview_cards", "images"): SightingKind.LINK_PREVIEW,
    ("preview_card_providers", "icons"): SightingKind.ICON,
    ("site_uploads", "files"): SightingKind.ICON,
}
_GROUP = re.compile(r"[0-9]{3}", re.ASCII)
_GROUPS = (3, 6)  # ids are cut into threes: nine digits, or the eighteen of ids that carry their time
_TAIL = 2  # the style and the file's name
_TIMED = 10**15  # smaller ids were counted up
_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class Record:
    """The record that a path names. `cached`: it is a copy of something remote; None where the path cannot say."""

    table: str
    attachment: str
    id: int
    cached: bool | None

    @property
    def at(self) -> float | None:
        """Return when the record was made, in epoch seconds, where its id says so."""
        return None if self.id < _TIMED else (self.id >> 16) / 1000


def record_of(path: str) -> Record | None:
    """Return the record that a path names, whatever stands before it; None where it is none of Mastodon's."""
    parts = path.split("/")[-_MOST_PARTS:]
    for at in range(len(parts) - 1):
        if (parts[at], parts[at + 1]) not in _KINDS:
            continue
        groups = parts[at + 2 : -_TAIL]
        if len(groups) in _GROUPS and all(map(_GROUP.fullmatch, groups)):
            return Record(parts[at], parts[at + 1], int("".join(groups)), _cached(parts, at, len(groups)))
    return None


def _cached(parts: list[str], at: int, groups: int) -> bool | None:
    """Whether it is a copy of something remote. The mark is younger than counted ids, so that without it those tell
    nothing; previews of links carry it all the same, as do their providers' icons.
    """
    if parts[at].startswith("preview_card"):
        return None
    if at and parts[at - 1] == "cache":
        return True
    return False if groups == max(_GROUPS) else None


class MastodonTracer:
    """Traces files of a Mastodon or glitch-soc by their paths."""

    def __init__(self, server: str, address: Address | None) -> None:
        """Take the server's word, and its address where that is known, to name hosts and pages with."""
        self._server = server
        self._address = address

    @property
    def name(self) -> str:
        """The server, as messages and records name it."""
        return self._server if self._address is None else f"{self._server} at {self._address.host}"

    def trace(self, subject: Subject, *, within_s: float) -> Traced:  # noqa: ARG002 - nothing is waited for
        """Return what the path says; see the `Tracer` port."""
        path = subject.path
        if path is None:
            return Traced(unknown=f"{self._server} is asked by the path alone, and there is none")
        record = record_of(path)
        if record is None:
            return Traced(unknown=f"it is no path of {self._server}'s")
        return Traced((self._sighting(record),))

    def _sighting(self, record: Record) -> Sighting:
        local = None if record.cached is None else not record.cached
        account = str(record.id) if record.table == "accounts" else None
        host = None if self._address is None else self._address.host
        return Sighting(
            kind=_KINDS[record.table, record.attachment],
            way=SightingWay.PATH,
            certainty=Certainty.POSSIBLE,
            url=None if account is None or self._address is None else f"{self._address.root}/admin/accounts/{account}",
            instance=host if local else None,
            local=local,
            # An account's own time is not that of its picture.
            at=record.at if account is None else None,
            record=f"{record.table}/{record.id}",
            person_id=account,
        )

    def close(self) -> None:
        """Hold nothing."""


def open_mastodon(access: Trace) -> MastodonTracer:
    """Return the tracer for a Mastodon or glitch-soc. Raises `TraceUsageError` for an address that is none."""
    return MastodonTracer(access.server or "mastodon", read_address(access.url))
