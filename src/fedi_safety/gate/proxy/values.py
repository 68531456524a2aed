"""Files that are written out in texts: `data:` addresses in the values of fields, of JSON and of a query.

Mastodon takes them wherever it takes a file, Pleroma for its avatars.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote_plus

from fedi_safety.gate.proxy.media_type import ambiguous

_BEGINS = re.compile(r"\s*data:", re.IGNORECASE)
_DATA = re.compile(r"\s*data:([^,;]*)((?:;[^,;]*)*),(.*)\Z", re.IGNORECASE | re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*\Z")
_ANYWHERE = re.compile(r"data:[^,&]{0,200};base64,", re.IGNORECASE)
_FIELDS = 10_000


def files_in_text(text: str) -> Iterator[tuple[str | None, bytes]]:
    """Yield the type and the bytes of the file that a value is, if it is one. Raises `Refusal` for an odd one."""
    if not _BEGINS.match(text):
        return
    found = _DATA.match(text)
    if found is None or ";base64" not in found[2].lower():
        return  # no server takes these; most likely somebody writes about such addresses
    if not found[2].lower().endswith(";base64") or not _BASE64.match(found[3]):
        raise ambiguous("a file is written out in Base64 that can be read in two ways")
    packed = re.sub(r"\s+", "", found[3]).rstrip("=")
    if len(packed) % 4 == 1:
        raise ambiguous("a file is written out in Base64 that is cut short")
    yield found[1].strip().lower() or None, base64.b64decode(packed + "=" * (-len(packed) % 4))


def files_in_json(body: bytes) -> Iterator[tuple[str | None, bytes]]:
    """Yield the files in all texts of a JSON document. Raises `Refusal` where it is none."""
    try:
        document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=lambda pairs: [list(p) for p in pairs])
        yield from (file for text in _texts(document) for file in files_in_text(text))
    except (ValueError, RecursionError):
        raise ambiguous("its JSON is not well-formed") from None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def files_in_fields(body: bytes) -> Iterator[tuple[str | None, bytes]]:
    """Yield the files in the fields of a form without files of its own, or in a query. Raises `Refusal`."""
    try:
        fields = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="surrogateescape", max_num_fields=_FIELDS
        )
    except ValueError:
        raise ambiguous("its fields are not well-formed") from None
    files = [file for _, value in fields for file in files_in_text(value)]
    # Some servers part fields at a semicolon as well, which is in each of these addresses.
    if len(_ANYWHERE.findall(unquote_plus(body.decode("latin-1")))) > len(files):
        raise ambiguous("a file is written out in the middle of a field")
    yield from files


def speaks_of_a_file(query: bytes) -> bool:
    """Whether a query has a file written out in it, which no client sends."""
    return bool(_ANYWHERE.search(unquote_plus(query.decode("latin-1"))))
