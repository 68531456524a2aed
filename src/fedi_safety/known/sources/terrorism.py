"""Tech Against Terrorism's hash list: entries in the order in which they changed, after any of them."""

from __future__ import annotations

from collections.abc import Iterator

from fedi_safety.known.formats.records import read_tat
from fedi_safety.known.sources.kinds import Asking, Page

URL = "https://app.terrorismanalytics.org"
_PAGES_AT_ONCE = 20  # that come onto the list in one step


def fetch_terrorism(asking: Asking) -> Iterator[Page]:
    """Give the entries that changed after the checkpoint."""
    secret = {"Authorization": f"Bearer {_token(asking)}"}
    after = asking.checkpoint
    number = 0
    while True:
        asking.turn(after)
        url = f"{asking.source.url}/api/hash-list/v2/all"
        asking.server.ask(url, asking.answer, params={"order": "asc", "after": after}, secret=secret)
        said = asking.values()
        if "next" not in said:
            raise asking.strange("its answer does not say whether there is more")
        reached = said.get("checkpoint") or after
        if not isinstance(reached, str):
            raise asking.strange("its checkpoint is no text")
        number += 1
        more = bool(said["next"])
        if more or reached:
            yield Page(asking.read(read_tat), None if more and number % _PAGES_AT_ONCE else reached)
        if not more:
            return
        after = reached


def _token(asking: Asking) -> str:
    user, password = asking.pair("user:password")
    form = {"username": user, "password": password}
    asking.server.ask(f"{asking.source.url}/token-auth/tcap/", asking.answer, form=form)
    token = asking.values().get("token")
    if not isinstance(token, str) or not token:
        raise asking.strange("it gives no token for the credentials")
    return token
