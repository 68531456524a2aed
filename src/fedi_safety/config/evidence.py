"""The sections of the configuration that say who reports to an authority, and by which access. See `schema`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from fedi_safety.config.section import Section


class Ncmec(Section):
    """The access to NCMEC's CyberTipline, which it gives to registered providers."""

    environment: Literal["test", "production"] = Field(
        "test", description="Where reports go. Production counts only where the command says so as well."
    )
    user: str | None = Field(None, min_length=1, description="The user name of this environment.")
    password: SecretStr | None = Field(None, description="Its password.")


class Evidence(Section):
    """Who reports to an authority. What is left out a draft names as missing where the authority needs it."""

    organization: str | None = Field(None, min_length=1, description="Who runs the server, as an authority knows it.")
    service: str | None = Field(
        None, min_length=1, description="The server's public address. Default: as `trace.url` says."
    )
    first_name: str | None = Field(None, min_length=1, description="The first name of the person who reports.")
    last_name: str | None = Field(None, min_length=1, description="The last name of that person.")
    email: str | None = Field(None, min_length=3, description="Where an authority reaches that person.")
    phone: str | None = Field(None, min_length=1, description="By which telephone it does.")
    address: str | None = Field(None, min_length=1, description="The postal address, on one line.")
    ncmec: Ncmec = Field(default_factory=Ncmec)
