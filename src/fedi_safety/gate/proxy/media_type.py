"""What a request says its body is, read in the one way that every parser shares; anything else is refused.

Which part of a body is a file hangs on this line: what a server reads otherwise than we do could hide one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedi_safety.gate.responses import Refusal

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_TYPE = re.compile(rf"[ \t]*({_TOKEN})/({_TOKEN})[ \t]*(;.*)?\Z", re.DOTALL)
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})=(?:({_TOKEN})|"([^"\\\x00-\x1f\x7f-\xff]*)")[ \t]*')
# Without commas, semicolons and blanks, at which one parser or another ends it, quoted or not.
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_./:=?-]{1,70}\Z")
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})


class BodyKind(StrEnum):
    """How files may lie in a body."""

    FORM = "form"  # multipart/form-data
    FIELDS = "fields"  # application/x-www-form-urlencoded
    JSON = "json"
    RAW = "raw"  # the body itself may be one
    NONE = "none"  # it says nothing


@dataclass(frozen=True, slots=True)
class MediaTypeHeader:
    """A `Content-Type` as it was read. `boundary` is a form's."""

    kind: BodyKind
    plain: str | None = None
    boundary: bytes = b""


def ambiguous(why: str) -> Refusal:
    """Return the refusal of what two parsers can read in two ways."""
    return Refusal(400, "ambiguous", f"it can be read in two ways: {why}", close=True)


def content_type(values: Sequence[bytes]) -> MediaTypeHeader:
    """Read the values of all `Content-Type` headers of a request. Raises `Refusal`."""
    if not values:
        return MediaTypeHeader(BodyKind.NONE)
    if len(values) > 1:
        raise ambiguous("it has several Content-Type headers")
    text = values[0].decode("latin-1")
    if not text.strip():
        return MediaTypeHeader(BodyKind.NONE)
    plain, parameters = type_and_parameters(text, "Content-Type")
    if plain.startswith("multipart/"):
        return _form(plain, parameters)
    if _mentions_form(text):
        raise ambiguous("its Content-Type is no form's and speaks of one")
    if parameters.get("charset", "utf-8").lower() not in _CHARSETS:
        raise ambiguous("its charset is none that every server knows")
    if plain == "application/x-www-form-urlencoded":
        return MediaTypeHeader(BodyKind.FIELDS, plain)
    if plain == "application/json" or plain.endswith("+json"):
        return MediaTypeHeader(BodyKind.JSON, plain)
    return MediaTypeHeader(BodyKind.RAW, plain)


def _form(plain: str, parameters: dict[str, str]) -> MediaTypeHeader:
    if plain != "multipart/form-data":
        raise ambiguous(f"it is {plain}, which some servers take for a form")
    if set(parameters) - {"boundary", "charset"}:
        raise ambiguous("its Content-Type has parameters that no form has")
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise ambiguous("its charset is not UTF-8")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.match(boundary):
        raise ambiguous("its boundary is missing, or has signs at which some servers end it")
    return MediaTypeHeader(BodyKind.FORM, plain, boundary.encode("ascii"))


def mentions_form(values: Sequence[bytes]) -> bool:
    """Whether any server may take a request with these `Content-Type` headers for a form with files."""
    return any(_mentions_form(value.decode("latin-1")) for value in values)


def _mentions_form(text: str) -> bool:
    return "multipart" in text.lower() or "boundary" in text.lower()


def type_and_parameters(text: str, what: str) -> tuple[str, dict[str, str]]:
    """Return a media type in small letters, and its parameters. Raises `Refusal` for what can be read in two ways."""
    found = _TYPE.match(text)
    if found is None:
        raise ambiguous(f"its {what} is no media type")
    main, sub, rest = found.groups()
    return f"{main}/{sub}".lower(), parameters_of((rest or "").rstrip("; \t"), what)


def parameters_of(text: str, what: str) -> dict[str, str]:
    """Return the parameters of a header's value, each there once. Raises `Refusal`."""
    parameters: dict[str, str] = {}
    at = 0
    while at < len(text):
        one = _PARAMETER.match(text, at)
        if one is None:
            raise ambiguous(f"the parameters of its {what} are not written as they should be")
        name = one[1]
        if name.lower() in parameters:
            raise ambiguous(f"its {what} has {name.lower()} twice")
        if name != name.lower():
            raise ambiguous(f"its {what} has a parameter in capital letters")
        parameters[name] = one[2] if one[2] is not None else one[3]
        at = one.end()
    return parameters
