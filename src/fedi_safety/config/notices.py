"""The sections that say who is told of what: `[notify]` and `[hooks]`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from fedi_safety.config.section import Section
from fedi_safety.core.notices.transitions import Transition

if TYPE_CHECKING:
    Word = str
else:
    Word = Literal[tuple(transition.value for transition in Transition)]  # whatever is told; no type checker knows it

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
Command = Annotated[tuple[str, ...], Field(description="A program by its whole path, and what it is given.")]


class Notify(Section):
    """Who is told when something happens, and of what."""

    urls: tuple[SecretStr, ...] = Field((), description="Where messages go, as apprise writes such addresses.")
    on: tuple[Word, ...] = Field(
        tuple(transition.value for transition in Transition), description="What is told. Default: all of it."
    )
    digest_minutes: float = Field(
        15.0, ge=0, le=10_080, description="For so many minutes condemnations, removals and the like are gathered."
    )
    name: str | None = Field(None, min_length=1, max_length=100, description="How messages call this instance.")
    heartbeat_url: SecretStr | None = Field(
        None, description="An address that is asked (GET) after each completed pass, for a dead man's switch."
    )
    min_coverage: float = Field(
        0.9, ge=0, le=1, description="Coverage is low below this share of the media with a verdict; 0 means never."
    )
    ending_days: float = Field(
        3.0, ge=0, le=365, description="So many days before a sealed copy ends by itself, that is told."
    )

    @field_validator("urls")
    @classmethod
    def _addresses(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_ADDRESS.fullmatch(url.get_secret_value()) for url in urls):
            raise ValueError("one of them is no address: write them like ntfys://ntfy.example/topic")
        return urls

    @field_validator("heartbeat_url")
    @classmethod
    def _http(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/]+\S*", url.get_secret_value()):
            raise ValueError("it is no http:// or https:// address")
        return url


class Hooks(Section):
    """Programs of the operator's own that are run when something happens. No shell is between."""

    on_condemned: Command = ()
    on_removed: Command = ()
    on_sealed: Command = ()
    on_breaker_tripped: Command = ()
    on_breaker_reset: Command = ()
    on_failing: Command = ()
    on_well_again: Command = ()
    on_gate_stale: Command = ()
    on_coverage_low: Command = ()
    on_credentials_refused: Command = ()
    on_chain_broken: Command = ()
    on_hold_ending: Command = ()
    on_action_failed: Command = ()
    on_list_turned: Command = ()
    limit_s: float = Field(30.0, gt=0, le=60, description="The longest that one of them may run, in seconds.")

    @field_validator("*")
    @classmethod
    def _whole_path(cls, command: object) -> object:
        if isinstance(command, tuple) and command and not str(command[0]).startswith("/"):
            raise ValueError(f"{command[0]}: name the program by its whole path, such as /usr/local/bin/told")
        return command

    def command(self, transition: Transition) -> tuple[str, ...]:
        """Return what is run for a transition; nothing where there is none."""
        found: tuple[str, ...] = getattr(self, f"on_{transition.value}")
        return found
