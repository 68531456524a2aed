"""SVG drawings, rendered by resvg without network, files, scripts or fonts. Runs in the child only.

Shown are the drawing, as large as detectors want it, and each picture that is embedded in it as a `data:` address, in
full: it may be hidden, cut or faded in the drawing, or stand where resvg does not look. What resvg does not do (HTML
inside, scripts, motion, other style sheets) makes the object one that is judged in part. Text is not drawn.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

import resvg_py
from PIL import PngImagePlugin

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media.caps import FRAME_LONGEST_SIDE, FRAME_SHORTEST_SIDE
from fedi_safety.media.decoder.confine.process import only_computing
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.formats.multipage import show_pages
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.still import Still, finished, fit
from fedi_safety.media.decoder.guards import explained
from fedi_safety.media.sniff import sniff

_MAX_DEPTH = 256  # resvg descends by recursion; at 100,000 its stack is at an end
_MAX_ELEMENTS = 250_000
_MAX_EMBEDDED = 256
_MAX_NESTING = 4  # drawings in drawings
_PROCESSOR_SECONDS = 0.9  # for a rendering, of which there are at most two; some filters would take hours

_NOT_DRAWN = {
    "foreignobject": "HTML",
    "script": "a script",
    "animate": "motion",
    "animatetransform": "motion",
    "animatemotion": "motion",
    "set": "motion",
}
_MOVING_STYLE = re.compile(r"@keyframes|@import|\banimation", re.IGNORECASE)
_DATA = re.compile(r"data:[^,;]{0,100}((?:;[^,;]{0,100}){0,8}),", re.IGNORECASE)
_IGNORED = re.compile(r"^\s+|[\t\n\r]+")  # browsers read an address without these
_STYLE_END = re.compile(r"[)'\"]")
# What drawings are written in. Others of Python's codecs take time that grows faster than the text.
_ENCODINGS = re.compile(
    r"utf-?(8|16|16le|16be|32)|(us-)?ascii|latin-?1|iso-8859-\d\d?|windows-125\d|cp125\d|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|shift_jis|euc-jp|euc-kr",
    re.IGNORECASE,
)
_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


@dataclass(slots=True)
class _Document:
    """A drawing's text, the files embedded in it, and what of it is not drawn."""

    text: str
    embedded: list[bytes] = field(default_factory=list)
    not_drawn: str = ""


@dataclass(slots=True)
class _Found:
    """The drawing and those inside it, the pictures inside them, and why that is not all there is to see."""

    drawings: list[str] = field(default_factory=list)
    pictures: list[tuple[bytes, MediaType]] = field(default_factory=list)
    problem: Unscannable | None = None


def decode_drawing(data: bytes, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show a drawing and what is embedded in it. Raises `Unscannable` or `MemoryError`."""
    found = _collect(data)

    def page(index: int) -> Still:
        if index < len(found.drawings):
            return _rendered(found.drawings[index], bounds.max_pixels)
        picture, kind = found.pictures[index - len(found.drawings)]
        return decode_still(picture, kind, bounds.max_pixels, bounds.detail, bounds.tiles)

    count = len(found.drawings) + len(found.pictures)
    went = show_pages(count, page, bounds, showing, risky=len(found.drawings))
    return DecodeSummary(went.total, went.more, went.problem or found.problem)


def _collect(data: bytes) -> _Found:
    """Find what there is to see. Raises `Unscannable` for a drawing that cannot be read."""
    document = _read(data)
    found = _Found()
    waiting: list[tuple[_Document, int]] = [(document, 0)]
    embedded = 0
    while waiting:
        document, depth = waiting.pop(0)
        found.drawings.append(document.text)
        if document.not_drawn:
            _note(found, Reason.UNSUPPORTED, f"{document.not_drawn} in a drawing is not shown")
        for source in document.embedded:
            embedded += 1
            if embedded > _MAX_EMBEDDED or depth == _MAX_NESTING:
                _note(found, Reason.TOO_LARGE, f"more than {_MAX_EMBEDDED} pictures, or drawings {_MAX_NESTING} deep")
                break
            try:
                kind = sniff(source[:4096])
                if kind is MediaType.SVG:
                    waiting.append((_read(source), depth + 1))
                elif kind.is_clip or kind is MediaType.PDF:
                    _note(found, Reason.UNSUPPORTED, f"{kind.value} in a drawing is not shown")
                else:
                    found.pictures.append((source, kind))
            except Unscannable as refusal:
                if refusal.reason not in (Reason.NOT_MEDIA, Reason.EMPTY):  # fonts and the like are nothing to see
                    _note(found, refusal.reason, f"embedded: {refusal.detail}")
    return found


def _note(found: _Found, reason: Reason, detail: str) -> None:
    found.problem = found.problem or Unscannable(reason, detail)


# --- reading


def _read(data: bytes) -> _Document:
    """Look through the XML before resvg does: it must be bounded. Raises `Unscannable`."""
    document = _Document(_text(data))
    parser = expat.ParserCreate("utf-8")
    depth = elements = 0
    style: list[str] | None = None

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements, style
        depth, elements = depth + 1, elements + 1
        if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
            raise Unscannable(Reason.TOO_LARGE, f"more than {_MAX_ELEMENTS} elements, or {_MAX_DEPTH} deep")
        local = name.rpartition(":")[2].lower()
        if local == "style":
            style = []
        document.not_drawn = document.not_drawn or _NOT_DRAWN.get(local, "")
        for value in attributes.values():
            _embedded(value, document)

    def end(_name: str) -> None:
        nonlocal depth, style
        depth -= 1
        if style is not None and _MOVING_STYLE.search("".join(style)):
            document.not_drawn = document.not_drawn or "what a style sheet moves or fetches"
        style = None

    def characters(text: str) -> None:
        if style is not None:
            style.append(text)

    def instruction(target: str, _text: str) -> None:
        if target == "xml-stylesheet":
            document.not_drawn = document.not_drawn or "what a style sheet makes of it"

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.ProcessingInstructionHandler = instruction
    parser.buffer_text = True
    try:
        parser.Parse(document.text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        reason = Reason.TRUNCATED if error.code in _CUT else Reason.CORRUPT
        raise Unscannable(Reason.TOO_LARGE if error.code == _AMPLIFIED else reason, f"{error}") from error
    return document


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


def _text(data: bytes) -> str:
    """Decode an XML text as its mark or its declaration says. Raises `Unscannable`."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    declared = _ENCODING.match(data)
    return _decoded(data, declared[1].decode("ascii") if declared is not None else "utf-8")


def _decoded(data: bytes, encoding: str) -> str:
    if not _ENCODINGS.fullmatch(encoding.replace("-le", "le").replace("-be", "be")):
        raise Unscannable(Reason.UNSUPPORTED, f"the encoding {encoding}")
    try:
        return data.decode(encoding)
    except ValueError as error:
        raise Unscannable(Reason.CORRUPT, f"it is not {encoding}") from error


def _embedded(value: str, document: _Document) -> None:
    """Add the files that an attribute's value has in it: its address, or those of its style."""
    value = _IGNORED.sub("", value)
    for found in _DATA.finditer(value):
        if len(document.embedded) > _MAX_EMBEDDED:
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


# --- rendering


def _rendered(text: str, max_pixels: int) -> Still:
    """Draw it, as large as a frame may be, whatever size it claims."""
    side = min(FRAME_LONGEST_SIDE, math.isqrt(max_pixels))
    with explained(b"", MediaType.SVG):
        image = _picture(text, side, side)
        if min(image.size) < FRAME_SHORTEST_SIDE:
            width, height = fit(image.width * FRAME_LONGEST_SIDE, image.height * FRAME_LONGEST_SIDE)
            share = min(1.0, 0.97 * (max_pixels / (width * height)) ** 0.5)  # resvg may round a side up
            image = _picture(text, max(1, int(width * share)), max(1, int(height * share)))
        return finished(image, *image.size)


def _picture(text: str, width: int, height: int) -> PngImagePlugin.PngImageFile:
    """Draw into a box of this size: as large as fits, sides in proportion."""
    try:
        with only_computing(_PROCESSOR_SECONDS):
            drawn = resvg_py.svg_to_bytes(svg_string=text, width=width, height=height, skip_system_fonts=True)
    except ValueError as error:
        if "limit reached" in str(error):
            raise Unscannable(Reason.TOO_LARGE, f"{error}") from error
        raise
    image = PngImagePlugin.PngImageFile(io.BytesIO(drawn))
    image.load()
    return image
