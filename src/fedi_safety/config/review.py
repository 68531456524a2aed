"""The review pages, as they are configured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from fedi_safety.config.section import THIS_MACHINE, Network, Section

ReviewRole = Literal["viewer", "reviewer", "looker", "admin"]


class ReviewPerson(Section):
    """Somebody who may use the review pages."""

    password: SecretStr | None = Field(
        None,
        description="The hash of the password, as `review password NAME` makes it. Left out: a proxy's word.",
    )
    roles: tuple[ReviewRole, ...] = Field(
        ("viewer",), min_length=1, description="What the person may do: viewer, reviewer, looker, admin."
    )


class Review(Section):
    """The review pages: whether `serve` has them, where, and for whom."""

    enabled: bool = Field(False, description="Whether `serve` has the pages, under /review/.")
    port: int | None = Field(
        None, ge=1, le=65535, description="A port of their own. Left out, they are beside the gate, at its address."
    )
    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on, where they have a port.")
    names: tuple[str, ...] = Field(
        (), description="Host names by which browsers reach the pages, besides this machine's own."
    )
    networks: tuple[Network, ...] = Field(
        THIS_MACHINE,
        description="Networks whose connections are answered, such as your proxy's. Default: this machine.",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Proxies whose X-Forwarded-For, X-Forwarded-Proto and `user_header` are believed."
    )
    user_header: str | None = Field(
        None, min_length=1, description="A header in which a trusted proxy names the person that it let in."
    )
    people: dict[str, ReviewPerson] = Field(
        default_factory=dict, description="Who may use the pages, each a [review.people.NAME] table."
    )
    idle_s: float = Field(
        1800.0, ge=60, le=86_400, description="Seconds without a request, after which a session ends."
    )
    session_s: float = Field(43_200.0, ge=60, le=604_800, description="Seconds after which every session ends.")
    undo_s: float = Field(
        10.0,
        ge=0,
        le=600,
        description="Seconds that a decision waits before it is carried out; until then it can be undone.",
    )
    views_per_day: int = Field(
        20, ge=0, le=1000, description="How many pictures a looker may ask for within a day, where nobody set a limit."
    )
