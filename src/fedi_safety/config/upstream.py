"""A server behind the gate, as it is configured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedi_safety.config.section import THIS_MACHINE, Network, OnUnjudged, Section

UpstreamWord = Literal[
    "mastodon", "glitch-soc", "pixelfed", "misskey", "sharkey", "gotosocial", "pleroma", "akkoma", "piefed", "mbin",
    "lemmy", "any",
]  # fmt: skip


class GateUpstream(Section):
    """A server that uploads are handed on to once they are judged: a port of the gate's own stands in front of it."""

    url: str = Field(min_length=1, description="The server's own address, such as http://127.0.0.1:3000.")
    kind: UpstreamWord = Field(
        description="What server it is, which says where uploads come in and how they are refused; `any` judges every "
        "file of every form."
    )
    port: int = Field(14052, ge=1, le=65535, description="The port that stands for this server; on `gate.host`.")
    networks: tuple[Network, ...] = Field(
        THIS_MACHINE,
        description="Networks of the web servers that send requests here, and whose X-Forwarded-For is believed. "
        "Default: this machine.",
    )
    refusal: str = Field(
        "This file cannot be uploaded here.",
        min_length=1,
        max_length=500,
        description="What an uploader is told of a refused upload.",
    )
    who: bool = Field(
        False,
        description="On a refusal, ask the server once, with the uploader's own credentials, whose they are.",
    )
    other_files: OnUnjudged = Field(
        "accept", description="What is neither picture nor clip, such as music; `not_media` does not count here."
    )
    body_s: float = Field(
        120.0, gt=0, le=3600, description="Seconds within which all of an upload must have arrived from the uploader."
    )
    answer_s: float = Field(
        120.0, gt=0, le=3600, description="Seconds that the server may take before its answer begins, or goes on."
    )
