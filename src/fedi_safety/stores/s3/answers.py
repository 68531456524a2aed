"""How answers in XML are read so that one odd value costs one object: numbers stay text, and any byte has a name.

Services that do not encode keys put bytes into XML that no XML may hold, and botocore then refuses the whole page.
Such bytes are exchanged for letters of a private plane before it reads the page, and back again in the keys; the same
letters carry them into requests, as botocore takes keys as text alone. It knows no client and sends nothing.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fedi_safety.core.keys import key_bytes, key_text

_PLANE = 0x10F000  # U+10F000 to U+10F0FF stand for the bytes 00 to FF
_LETTER = re.compile("[\U0010f000-\U0010f0ff]")
_FOREIGN = re.compile("[\udc80-\udcff\U0010f080-\U0010f0ff]")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile("&#(?:x0*([0-9a-fA-F]{1,4})|0*([0-9]{1,5}));")
_LETTER_IN_URL = re.compile("%F4%8F%8([23])%([89AB][0-9A-F])")
_MENDED = "Mended"  # not a name of S3's: the page holds letters for bytes


def parsers() -> Any:
    """Return the component of botocore that makes parsers, ours."""
    from botocore.parsers import (  # type: ignore[import-untyped]
        ResponseParserError,
        ResponseParserFactory,
        RestXMLParser,
    )

    class Parser(RestXMLParser):  # type: ignore[misc]
        def parse(self, response: dict[str, Any], shape: Any) -> Any:
            try:
                return super().parse(response, shape)
            except ResponseParserError:
                mended = _mended(response["body"])
                if mended is None:
                    raise
            return super().parse(response | {"body": mended}, shape) | {_MENDED: True}

        def _handle_integer(self, _shape: Any, node: Any) -> Any:
            return getattr(node, "text", node)

        _handle_long = _handle_integer

    class Parsers(ResponseParserFactory):  # type: ignore[misc]
        def create_parser(self, protocol_name: str) -> Any:
            return Parser(**self._defaults) if protocol_name == "rest-xml" else super().create_parser(protocol_name)

    found = Parsers()
    # Times are read by the client, which is many times faster than botocore's general reader: most of a listing's cost.
    found.set_parser_defaults(timestamp_parser=str)
    return found


def _mended(body: bytes) -> bytes | None:
    """Return a page with letters for what XML cannot hold; None where there is nothing like that to mend."""
    text = key_text(body)
    if _LETTER.search(text):
        return None
    better = _REFERENCE.sub(_dereferenced, _NOT_XML.sub(lambda found: _letters(found[0]), text))
    return None if better == text else better.encode()


def _dereferenced(found: re.Match[str]) -> str:
    letter = chr(int(found[1], 16) if found[1] else int(found[2]))
    return _letters(letter) if _NOT_XML.fullmatch(letter) else found[0]


def _letters(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape" if "\udc80" <= text <= "\udcff" else "surrogatepass")
    return "".join(chr(_PLANE + byte) for byte in raw)


def key_of(page: dict[str, Any], text: str | None) -> str:
    """Return a key, or a part of one, that a page of a listing names; "" where it names none."""
    if not text:
        return ""
    if page.get(_MENDED):
        text = key_text(b"".join(_byte(letter) for letter in text))
    if page.get("EncodingType") != "url":
        return text
    return key_text(unquote_to_bytes(key_bytes(text.replace("+", " "))))


def _byte(letter: str) -> bytes:
    return bytes([ord(letter) - _PLANE]) if _LETTER.match(letter) else letter.encode()


def asked(key: str) -> str:
    """Return a key as botocore can take it: all Unicode. `in_url` makes the key's own bytes of it."""
    return _FOREIGN.sub(lambda found: "".join(chr(_PLANE + byte) for byte in key_bytes(found[0])), key)


def in_url(url: str) -> str:
    """Return a URL that botocore made of what `asked` returns, with the key's bytes in it."""
    return _LETTER_IN_URL.sub(lambda found: f"%{(int(found[1]) << 6) | (int(found[2], 16) & 0x3F):02X}", url)


def is_utf8(key: str) -> bool:
    """Whether a key's bytes are UTF-8, and not what a service writes in place of bytes that are not."""
    return not any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in key)
