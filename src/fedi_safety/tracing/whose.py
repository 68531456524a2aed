"""Whose a content is, in the words of a server's record, as sightings name it."""

from __future__ import annotations

from dataclasses import dataclass

from fedi_safety.core.sightings import Certainty, Sighting, SightingKind, SightingWay
from fedi_safety.tracing.addresses import Address


@dataclass(frozen=True, slots=True)
class Whose:
    """A person, or where there is none the instance alone. `person` is `@name@host` where the host is known; `id` is
    the server's own, as its API takes it."""

    person: str | None
    instance: str | None
    local: bool | None
    id: str | None = None

    def sighting(
        self,
        kind: SightingKind,
        way: SightingWay,
        certainty: Certainty = Certainty.CERTAIN,
        *,
        url: str | None = None,
        at: float | None = None,
        record: str | None = None,
        post_id: str | None = None,
    ) -> Sighting:
        """Return a sighting of something of theirs."""
        return Sighting(kind, way, certainty, url, self.person, self.instance, self.local, at, record, post_id, self.id)


def whose(username: str | None, domain: str | None, address: Address | None, person_id: str | None = None) -> Whose:
    """Return whose it is, by a name that may have its host in it; no `domain` stands for this server itself."""
    host = domain or (None if address is None else address.host)
    name = (username or "").lstrip("@")
    person = f"@{name}" if "@" in name or host is None else f"@{name}@{host}"
    return Whose(person if name else None, host, not domain, person_id)
