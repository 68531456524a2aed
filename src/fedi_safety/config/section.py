"""What sections of the configuration are made of."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator

Network = Annotated[IPv4Network | IPv6Network, PlainValidator(ip_network)]
THIS_MACHINE: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
OnUnjudged = Literal["accept", "refuse"]


class Commas:
    """Marks a list that a variable has with commas between, and not as JSON."""


class Section(BaseModel):
    """A table of keys; others than these are refused."""

    # What checks a section is made as a part of what checks the whole; by itself only where somebody asks for it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
