"""Lemmy 0.19 and 1.0: who put a picture there, by the names that pict-rs has for it.

Its database tells most, its API less. The path of a file says when it was stored, and nothing of anybody.
"""

from __future__ import annotations

import re

from fedi_safety.config.schema import Trace
from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay, Subject, Traced
from fedi_safety.tracing.addresses import read_address
from fedi_safety.tracing.lemmy_names import alias_in
from fedi_safety.tracing.ways import Way, WaysTracer

# pict-rs from 0.5.7 on: a UUID of version 7, which begins with milliseconds; before: counted directories and a UUID.
_TIMED = re.compile(r"(?:^|/)((?:[0-9a-f]{2}/){6}7[0-9a-f]/(?:[0-9a-f]{2}/){3}[0-9a-f]{12})(?:\.[a-z0-9]{1,5})?\Z")
_COUNTED = re.compile(r"(?:^|/)(?:[0-9]{1,3}/)+[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_LONGEST = 200


def by_path(subject: Subject) -> Traced:
    """Return what the path alone says: that it is an upload of pict-rs', and of newer ones when it was stored."""
    path = subject.path
    end = "" if path is None else path[-_LONGEST:]
    alias, timed = alias_in(path), _TIMED.search(end)
    if alias is None and timed is None and _COUNTED.search(end) is None:
        return Traced(unknown="its path is none by which pict-rs stores or Lemmy shows a picture")
    return Traced(
        (
            Sighting(
                SightingKind.UPLOAD,
                SightingWay.PATH,
                Certainty.POSSIBLE,
                at=None if timed is None else int(timed[1].replace("/", "")[:12], 16) / 1000,
                record=None if alias is None else f"local_image/{alias}",
            ),
        )
    )


def open_lemmy(access: Trace) -> WaysTracer:
    """Return the tracer for a Lemmy. Raises `TraceUsageError` for an address, token or database that is none."""
    address = read_address(access.url)
    name = "lemmy" if address is None else f"lemmy at {address.host}"
    ways: list[Way] = []
    if access.database is not None:
        from fedi_safety.tracing.database import ServerDatabase
        from fedi_safety.tracing.lemmy_database import LemmyDatabase

        server = ServerDatabase(access.database.get_secret_value(), name, expected="Lemmy 0.19 or 1.0")
        ways.append(Way(SightingWay.DATABASE, LemmyDatabase(server, None if address is None else address.root).trace))
    if access.token is not None and address is not None:
        from fedi_safety.clients.lemmy import LemmyClient
        from fedi_safety.tracing.lemmy_api import LemmyApi

        api = LemmyApi(LemmyClient(address.root, access.token.get_secret_value()))
        ways.append(Way(SightingWay.API, api.trace, api.close))
    return WaysTracer(name, ways, by_path)
