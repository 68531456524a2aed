"""StopNCII: records that were added, changed or withdrawn since a moment, in pages; all of them or nothing."""

from __future__ import annotations

from collections.abc import Iterator

from fedi_safety.known.formats.records import read_stopncii
from fedi_safety.known.sources.kinds import Asking, Page

URL = "https://api.stopncii.org/v1"
_BEGINNING = "10"  # as its own clients begin
_AT_ONCE = "800"


def fetch_stopncii(asking: Asking) -> Iterator[Page]:
    """Give the records since the checkpoint. What leads from page to page holds for a while only, so none is kept."""
    function, subscription = asking.pair("the key of FetchHashes, a comma and the subscription key", ",")
    secret = {"x-functions-key": function, "Ocp-Apim-Subscription-Key": subscription}
    start = asking.checkpoint or _BEGINNING
    token = ""
    while True:
        asking.turn(token)
        params = {"startTimestamp": start, "pageSize": _AT_ONCE} | ({"nextPageToken": token} if token else {})
        asking.server.ask(f"{asking.source.url}/FetchHashes", asking.answer, params=params, secret=secret)
        said = asking.values()
        if not isinstance(said.get("hasMoreRecords"), bool):
            raise asking.strange("its answer has no hasMoreRecords")
        token = said.get("nextPageToken") or ""
        if said["hasMoreRecords"] and not (isinstance(token, str) and token):
            raise asking.strange("its answer has more pages and does not say where")
        if not said["hasMoreRecords"]:
            yield Page(asking.read(read_stopncii), _reached(asking, said.get("nextSetTimestamp"), start))
            return
        yield Page(asking.read(read_stopncii))


def _reached(asking: Asking, said: object, start: str) -> str:
    """Return the moment that the next fetch asks from. Raises `KnownError` for one before the last."""
    if said is None:
        return start
    if not isinstance(said, int) or isinstance(said, bool) or said < int(start):
        raise asking.strange("its nextSetTimestamp is no moment after the one that was asked from")
    return str(said)
