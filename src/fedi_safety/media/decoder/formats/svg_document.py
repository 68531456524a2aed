"""A drawing's text as it is read: bounded, mended where it is cut, its style resolved; and the files embedded in it.

Browsers show a drawing whose XML is cut or broken as far as it goes, and so does this. What of a drawing is not drawn
here is named. Nothing is drawn; runs in the child only.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.decoder.confine.process import interrupted
from fedi_safety.media.decoder.formats.svg_style import is_plain_sheet, is_styled, resolved
from fedi_safety.media.decoder.formats.svg_values import Unknown
from fedi_safety.media.decoder.guards import explained
from fedi_safety.media.sniff import is_drawing

_MAX_DEPTH = 256  # resvg descends by recursion; at 100,000 its stack is at an end
_MAX_ELEMENTS = 250_000
MAX_EMBEDDED = 256
_STYLE_SECONDS = 0.8  # of the processor; selectors may take any time

_NOT_DRAWN = {
    "foreignobject": "HTML",
    "script": "a script",
    "animate": "motion",
    "animatetransform": "motion",
    "animatemotion": "motion",
    "set": "motion",
    "discard": "motion",
    "link": "what a style sheet makes of it",
}
_FETCHING = frozenset({"image", "feimage", "use"})  # elements that may show what is elsewhere
_DATA = re.compile(r"data:[^,;]{0,100}((?:;[^,;]{0,100}){0,8}),", re.IGNORECASE)
_ELSEWHERE = re.compile(r"(?!data:|#)(?=.)", re.IGNORECASE)
_IGNORED = re.compile(r"^\s+|[\t\n\r]+")  # browsers read an address without these
_STYLE_END = re.compile(r"[)'\"]")
# What drawings are written in. Others of Python's codecs take time that grows faster than the text.
_ENCODINGS = re.compile(
    r"utf-?(8|16|16le|16be|32)|(us-)?ascii|latin-?1|iso-8859-\d\d?|windows-125\d|cp125\d|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|shift_jis|euc-jp|euc-kr",
    re.IGNORECASE,
)
_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")

_AMPLIFIED = 43  # entities that grow without end; Python has no name for it everywhere
_CUT = frozenset(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
)


@dataclass(slots=True)
class Document:
    """A drawing's text, the files embedded in it, what of it is not drawn, and why there is no more of it."""

    text: str
    embedded: list[bytes] = field(default_factory=list)
    not_drawn: str = ""
    problem: Unscannable | None = None


def read(data: bytes) -> Document:
    """Look through the XML before resvg does: it must be bounded. Raises `Unscannable`."""
    if not is_drawing(data):
        raise Unscannable(Reason.NOT_MEDIA, "an XML text, or something like one, but no drawing")
    document = _decoded(data)
    reader = _Reader(document)
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.ProcessingInstructionHandler = reader.instruction
    parser.buffer_text = True
    text = document.text.encode("utf-8", "replace")
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        reason = Reason.TRUNCATED if error.code in _CUT else Reason.CORRUPT
        problem = Unscannable(Reason.TOO_LARGE if error.code == _AMPLIFIED else reason, f"{error}")
        if error.code == _AMPLIFIED or not reader.inside:
            raise problem from error
        document.problem = document.problem or problem
        document.text = _closed(text[: parser.ErrorByteIndex].decode("utf-8", "ignore"), reader.inside)
        reader.end_sheet()
    if reader.styled or reader.sheets:
        _resolve(document, reader)
    return document


def _closed(text: str, inside: list[str]) -> str:
    """Return what is whole of a text, with an end for each element that is open."""
    whole, mark, _ = text.rpartition(">")
    return whole + mark + "".join(f"</{name}>" for name in reversed(inside))


class _Reader:
    """Takes the events of an XML parser."""

    def __init__(self, document: Document) -> None:
        self.inside: list[str] = []  # the elements that are open
        self.sheets: list[str] = []
        self.styled = False  # by itself or by a sheet for some media only
        self._document = document
        self._elements = 0
        self._sheet: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Look at an element. Raises `Unscannable` for too many."""
        self.inside.append(name)
        self._elements += 1
        if len(self.inside) > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise Unscannable(Reason.TOO_LARGE, f"more than {_MAX_ELEMENTS} elements, or {_MAX_DEPTH} deep")
        local = name.rpartition(":")[2]
        if local == "style":
            self._sheet = []
            self.styled = self.styled or "media" in attributes
        self.styled = self.styled or is_styled(local, attributes)
        self._document.not_drawn = self._document.not_drawn or _not_drawn(local.lower(), attributes)
        for value in attributes.values():
            _embedded(value, self._document)

    def end(self, _name: str) -> None:
        """Leave an element."""
        self.inside.pop()
        self.end_sheet()

    def end_sheet(self) -> None:
        """Look at the style sheet that ends here, if one does."""
        if self._sheet is not None:
            self.sheets.append("".join(self._sheet))
            self._sheet = None
            _embedded(self.sheets[-1], self._document)

    def characters(self, text: str) -> None:
        """Keep what belongs to a style sheet."""
        if self._sheet is not None:
            self._sheet.append(text)

    def instruction(self, target: str, _text: str) -> None:
        """Name a style sheet from elsewhere."""
        if target == "xml-stylesheet":
            self._document.not_drawn = self._document.not_drawn or "what a style sheet makes of it"


def _not_drawn(local: str, attributes: dict[str, str]) -> str:
    """Name what of an element is not shown here, if anything."""
    if local in _NOT_DRAWN:
        return _NOT_DRAWN[local]
    for name, value in attributes.items():
        if name.startswith("on"):
            return "a script"
        if local in _FETCHING and name.rpartition(":")[2] == "href" and _ELSEWHERE.match(_IGNORED.sub("", value)):
            return "what is elsewhere"
    return ""


def _resolve(document: Document, reader: _Reader) -> None:
    """Write the style of a drawing as resvg knows it, where it does not. Where that fails, resvg draws what it can."""
    unknown = ""
    late = Unscannable(Reason.TOO_SLOW, "it takes too long")
    try:
        with explained(b"", MediaType.SVG), interrupted(_STYLE_SECONDS, late):
            if reader.styled or not all(is_plain_sheet(sheet) for sheet in reader.sheets):
                document.text, unknown = resolved(document.text)
    except Unscannable as refusal:
        unknown = refusal.detail if isinstance(refusal, Unknown) else f"its style ({refusal.detail[:60]})"
    document.not_drawn = document.not_drawn or unknown


def _decoded(data: bytes) -> Document:
    """Decode an XML text as its mark or its declaration says. Raises `Unscannable`."""
    encoding = "utf-8"
    for mark, marked in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be")):
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    else:
        declared = _ENCODING.match(data)
        encoding = declared[1].decode("ascii") if declared is not None else encoding
    if not _ENCODINGS.fullmatch(encoding):
        raise Unscannable(Reason.UNSUPPORTED, f"the encoding {encoding}")
    try:
        return Document(data.decode(encoding))
    except ValueError:
        problem = Unscannable(Reason.CORRUPT, f"it is not {encoding}")
    try:
        return Document(data.decode(encoding, "replace"), problem=problem)
    except ValueError as error:
        raise problem from error


def _embedded(value: str, document: Document) -> None:
    """Add the files that an attribute's value has in it: its address, or those of its style."""
    value = _IGNORED.sub("", value)
    for found in _DATA.finditer(value):
        if len(document.embedded) > MAX_EMBEDDED:
            return  # who looks at them sees that there are too many
        whole = found.start() == 0
        closing = None if whole else _STYLE_END.search(value, found.end())
        raw = unquote_to_bytes(value[found.end() : closing.start() if closing is not None else None])
        if found[1].lower().replace(" ", "").endswith(";base64"):
            letters = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
            with suppress(binascii.Error):
                document.embedded.append(base64.b64decode(letters + b"=" * (-len(letters) % 4)))
        else:
            document.embedded.append(raw)
        if whole:
            return
