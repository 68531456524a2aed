"""Forms that are written to be read in two ways, and how servers' parsers read them by their published rules.

`hostile` draws them from a seed: a form that is as it should be, spoiled in up to three places. The readers are written
from what Rack, PHP, busboy, Go's `mime/multipart` and werkzeug document and do; each returns the files that it finds.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

PICTURE = b"pic red=0.9"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends: the values of its Content-Type headers, and its body."""

    content_types: tuple[bytes, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Draft:
    """A form before it is written out."""

    boundary: bytes
    types: tuple[bytes, ...]
    parts: tuple[bytes, ...]  # header and data of each, with the blank line between
    before: bytes = b""
    lines: tuple[bytes, ...] = ()  # what stands between the boundary of each part and its header
    ending: bytes = b"--\r\n"
    joint: bytes = b"\r\n"  # before each boundary but the first

    def written(self) -> Request:
        body = self.before
        for n, part in enumerate(self.parts):
            line = self.lines[n] if n < len(self.lines) else b"\r\n"
            body += (self.joint if n else b"") + b"--" + self.boundary + line + part
        body += (self.joint if self.parts else b"") + b"--" + self.boundary + self.ending
        return Request(self.types, body)


def _part(random_: random.Random, data: bytes | None = None, *, head: bytes | None = None) -> bytes:
    name = random_.choice([b"file", b"thumbnail", b"account[avatar]"])
    if head is None:
        head = b'Content-Disposition: form-data; name="%s"; filename="a.png"\r\nContent-Type: image/png' % name
    tag = b"%08x" % random_.getrandbits(32)
    return head + b"\r\n\r\n" + (PICTURE + b" " + tag if data is None else data)


def _text(random_: random.Random) -> bytes:
    return b'Content-Disposition: form-data; name="description"\r\n\r\n%08x' % random_.getrandbits(32)


def plain(random_: random.Random) -> _Draft:
    """Return a form as it should be."""
    boundary = random_.choice([b"----WebKitFormBoundary%016x", b"%032x", b"------------------------%016x"]) % (
        random_.getrandbits(64)
    )
    parts = tuple(_part(random_) if random_.random() < 0.6 else _text(random_) for _ in range(random_.randint(1, 4)))
    return _Draft(boundary, (b"multipart/form-data; boundary=" + boundary,), parts)


def _type(make: Callable[[bytes], bytes | tuple[bytes, ...]]) -> Callable[[random.Random, _Draft], _Draft]:
    def spoil(_random: random.Random, draft: _Draft) -> _Draft:
        made = make(draft.boundary)
        return replace(draft, types=made if isinstance(made, tuple) else (made,))

    return spoil


def _head(make: Callable[[bytes], bytes]) -> Callable[[random.Random, _Draft], _Draft]:
    """Write the header of one part otherwise."""

    def spoil(random_: random.Random, draft: _Draft) -> _Draft:
        at = random_.randrange(len(draft.parts))
        head, _, data = draft.parts[at].partition(b"\r\n\r\n")
        parts = [*draft.parts]
        parts[at] = make(head) + b"\r\n\r\n" + data
        return replace(draft, parts=tuple(parts))

    return spoil


def _data(make: Callable[[bytes, bytes], bytes]) -> Callable[[random.Random, _Draft], _Draft]:
    """Write the data of one part otherwise; `make` is given the boundary and a whole part."""

    def spoil(random_: random.Random, draft: _Draft) -> _Draft:
        at = random_.randrange(len(draft.parts))
        head, _, data = draft.parts[at].partition(b"\r\n\r\n")
        parts = [*draft.parts]
        parts[at] = head + b"\r\n\r\n" + data + make(draft.boundary, _part(random_))
        return replace(draft, parts=tuple(parts))

    return spoil


def _line(line: bytes) -> Callable[[random.Random, _Draft], _Draft]:
    def spoil(random_: random.Random, draft: _Draft) -> _Draft:
        lines = [b"\r\n"] * len(draft.parts)
        lines[random_.randrange(len(lines))] = line
        return replace(draft, lines=tuple(lines))

    return spoil


def _whole(**changed: bytes) -> Callable[[random.Random, _Draft], _Draft]:
    return lambda _random, draft: replace(draft, **changed)  # type: ignore[arg-type]


SPOILS: dict[str, Callable[[random.Random, _Draft], _Draft]] = {
    "nothing": lambda _random, draft: draft,
    # --- which boundary
    "two boundaries, the second right": _type(lambda b: b"multipart/form-data; boundary=other; boundary=" + b),
    "two boundaries, the first right": _type(lambda b: b"multipart/form-data; boundary=" + b + b"; boundary=other"),
    "two headers": _type(lambda b: (b"multipart/form-data; boundary=other", b"multipart/form-data; boundary=" + b)),
    "two headers, one of them a text": _type(lambda b: (b"text/plain", b"multipart/form-data; boundary=" + b)),
    "quoted": _type(lambda b: b'multipart/form-data; boundary="' + b + b'"'),
    "half quoted": _type(lambda b: b'multipart/form-data; boundary="' + b),
    "quoted within": _type(lambda b: b"multipart/form-data; boundary=" + b[:4] + b'"' + b[4:] + b'"'),
    "escaped": _type(lambda b: b'multipart/form-data; boundary="\\' + b + b'"'),
    "with a comma": _type(lambda b: b"multipart/form-data; boundary=" + b + b",x"),
    "with a blank": _type(lambda b: b"multipart/form-data; boundary=" + b + b" x"),
    "with a semicolon within": _type(lambda b: b'multipart/form-data; boundary="' + b + b';x"'),
    "in capitals": _type(lambda b: b"multipart/form-data; BOUNDARY=" + b),
    "type in capitals": _type(lambda b: b"Multipart/Form-Data; boundary=" + b),
    "in another parameter": _type(lambda b: b'multipart/form-data; x="boundary=other"; boundary=' + b),
    "in the name of a parameter": _type(lambda b: b"multipart/form-data; xboundary=other; boundary=" + b),
    "blanks around": _type(lambda b: b"multipart/form-data ;  boundary = " + b),
    "no semicolon": _type(lambda b: b"multipart/form-data boundary=" + b),
    "a charset": _type(lambda b: b"multipart/form-data; charset=utf-16; boundary=" + b),
    "utf-8": _type(lambda b: b"multipart/form-data; charset=utf-8; boundary=" + b),
    "mixed": _type(lambda b: b"multipart/mixed; boundary=" + b),
    "related": _type(lambda b: b"multipart/related; boundary=" + b),
    "said to be a text": _type(lambda b: b"text/plain; boundary=" + b),
    "said to be json": _type(lambda b: b"application/json; x=multipart/form-data; boundary=" + b),
    "a list of types": _type(lambda b: b"text/plain, multipart/form-data; boundary=" + b),
    "split over parameters": _type(lambda b: b"multipart/form-data; boundary*0=" + b[:4] + b"; boundary*1=" + b[4:]),
    "a tab": _type(lambda b: b"multipart/form-data;\tboundary=" + b),
    "beyond ascii": _type(lambda b: b"multipart/form-data; boundary=" + b + b"\xe4"),
    # --- where the parts begin and end
    "line feeds alone": lambda _random, draft: replace(
        draft, joint=b"\n", parts=tuple(p.replace(b"\r\n", b"\n") for p in draft.parts)
    ),
    "line feeds before boundaries": _whole(joint=b"\n"),
    "carriage returns before boundaries": _whole(joint=b"\r"),
    "nothing before boundaries": _whole(joint=b""),
    "a blank behind a boundary": _line(b" \r\n"),
    "a tab behind a boundary": _line(b"\t\r\n"),
    "a line feed behind a boundary": _line(b"\n"),
    "a word behind a boundary": _line(b"x\r\n"),
    "one dash behind a boundary": _line(b"-\r\n"),
    "a preamble": _whole(before=b"a preamble\r\n"),
    "a preamble without an end": _whole(before=b"a preamble"),
    "a blank line before": _whole(before=b"\r\n"),
    "a line feed before": _whole(before=b"\n"),
    "a part in the preamble": lambda random_, draft: replace(
        draft, before=b"--" + draft.boundary + b" \r\n" + _part(random_) + b"\r\n"
    ),
    "a part behind the end": lambda random_, draft: replace(
        draft, ending=b"--\r\n--" + draft.boundary + b"\r\n" + _part(random_) + b"\r\n--" + draft.boundary + b"--\r\n"
    ),
    "an epilogue": _whole(ending=b"--\r\nand more"),
    "no last line end": _whole(ending=b"--"),
    "no end": _whole(ending=b"\r\n"),
    "half an end": _whole(ending=b"-"),
    "a blank in the end": _whole(ending=b"-- \r\n"),
    "a boundary in the data, by a line feed": _data(lambda b, part: b"\n--" + b + b"\r\n" + part),
    "a boundary in the data, by a carriage return": _data(lambda b, part: b"\r--" + b + b"\r\n" + part),
    "a boundary in the data, amid a line": _data(lambda b, part: b"x--" + b + b"\r\n" + part),
    "a boundary in the data, longer": _data(lambda b, part: b"\r\n--" + b + b"x\r\n" + part),
    "a boundary in the data, by a blank": _data(lambda b, part: b"\r\n--" + b + b" \r\n" + part),
    "a boundary in the data, ended by a line feed": _data(lambda b, part: b"\r\n--" + b + b"\n" + part),
    "an end in the data": _data(lambda b, part: b"\r\n--" + b + b"--x\r\n" + part),
    "another form in the data": _data(lambda _b, part: b"\r\n--other\r\n" + part + b"\r\n--other--"),
    "the boundary of two dashes fewer": _data(lambda b, part: b"\r\n" + b + b"\r\n" + part),
    # --- what a part says
    "a part without a header": lambda random_, draft: replace(draft, parts=(*draft.parts, b"\r\n" + _part(random_))),
    "a header without a blank line": _head(lambda head: head + b"\r\n \r\n"),
    "two dispositions": _head(lambda head: b'Content-Disposition: form-data; name="x"\r\n' + head),
    "two dispositions, the file first": _head(lambda head: head + b'\r\nContent-Disposition: form-data; name="x"'),
    "a folded disposition": _head(lambda head: head.replace(b"; name", b";\r\n name")),
    "a disposition of capitals": _head(lambda head: head.replace(b"Content-Disposition", b"CONTENT-DISPOSITION")),
    "a blank before a colon": _head(lambda head: head.replace(b"Content-Disposition:", b"Content-Disposition :")),
    "a line feed in a header": _head(lambda head: head.replace(b"\r\n", b"\n")),
    "an attachment": _head(lambda head: head.replace(b"form-data", b"attachment")),
    "two file names": _head(lambda head: head.replace(b"form-data;", b'form-data; filename="b.png";')),
    "an extended file name": _head(lambda head: head.replace(b"form-data;", b"form-data; filename*=UTF-8''b.png;")),
    "an extended file name of latin": _head(
        lambda head: head.replace(b"form-data;", b"form-data; filename*=iso-8859-1''b%E4.png;")
    ),
    "a file name in words": _head(
        lambda head: head.replace(b"form-data;", b"form-data; filename*0=b; filename*1=.png;")
    ),
    "an escaped quote": _head(lambda head: head.replace(b'name="', b'name="x\\"; filename=\\"y; ', 1)),
    "a quote within": _head(lambda head: head.replace(b'name="', b'name=x"y; ', 1)),
    "no quotes": _head(lambda head: head.replace(b'"', b"")),
    "no name": _head(lambda head: re.sub(rb'; name="[^"]*"', b"", head)),
    "an empty file name": _head(lambda head: head.replace(b'filename="a.png"', b'filename=""')),
    "no file name": _head(lambda head: head.replace(b'; filename="a.png"', b"")),
    "no file name, and no type": _head(
        lambda head: head.replace(b'; filename="a.png"', b"").replace(b"\r\nContent-Type: image/png", b"")
    ),
    "octets without a name": _head(
        lambda head: head.replace(b'; filename="a.png"', b"").replace(b"image/png", b"application/octet-stream")
    ),
    "base64": _head(lambda head: head + b"\r\nContent-Transfer-Encoding: base64"),
    "quoted-printable": _head(lambda head: head + b"\r\nContent-Transfer-Encoding: quoted-printable"),
    "binary": _head(lambda head: head + b"\r\nContent-Transfer-Encoding: binary"),
    "packed": _head(lambda head: head + b"\r\nContent-Encoding: gzip"),
    "a lying length": _head(lambda head: head + b"\r\nContent-Length: 3"),
    "a nested form": _head(lambda head: head.replace(b"image/png", b"multipart/mixed; boundary=inner")),
    "a message": _head(lambda head: head.replace(b"image/png", b"message/rfc822")),
    "a charset of a part": _head(lambda head: head + b"; charset=utf-7"),
    "a zero": _head(lambda head: head.replace(b"a.png", b"a\0.png")),
    "a long header": _head(lambda head: head + b"\r\nX-Long: " + b"x" * 9000),
    "a header that is none": _head(lambda head: b"no colon\r\n" + head),
    "a content id": _head(lambda head: b"Content-ID: <x>\r\n" + head),
}
"""What is done to a form, by what it is called."""


def hostile(seed: int) -> tuple[Request, tuple[str, ...]]:
    """Return a form that is drawn by this seed, and what was done to it."""
    random_ = random.Random(seed)
    draft = plain(random_)
    names = tuple(random_.choice(sorted(SPOILS)) for _ in range(random_.choice([0, 1, 1, 1, 2, 3])))
    for name in names:
        draft = SPOILS[name](random_, draft)
    request = draft.written()
    if random_.random() < 0.1:  # cut anywhere, or a byte of it changed
        at = random_.randrange(len(request.body))
        cut = random_.random() < 0.5
        body = request.body[:at] if cut else request.body[:at] + random_.randbytes(1) + request.body[at + 1 :]
        request = replace(request, body=body)
    return request, names


# --- how servers read them

Reader = Callable[[Request], list[bytes]]
"""Return the data of all files that a server finds."""


def _disposition(head: bytes) -> tuple[bool, bytes]:
    """Whether the header of a part names a file, as the most generous of readers see it, and its type."""
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", head)
    lines = re.split(rb"\r?\n", unfolded)
    named = any(re.match(rb"content-disposition\s*:.*filename", line, re.IGNORECASE) for line in lines)
    kind = next((m[1].strip() for line in lines if (m := re.match(rb"(?i)content-type\s*:(.*)", line))), b"")
    return named, kind


def rack(request: Request) -> list[bytes]:
    """Rack 2 and 3: the last header that a web server hands on, the last `boundary=` in it, CRLF before boundaries."""
    found = re.match(rb'\Amultipart/.*boundary="?([^";,]+)"?', request.content_types[-1], re.IGNORECASE | re.DOTALL)
    if found is None:
        return []
    delimiter = b"--" + found[1]
    body, at = request.body, 0
    while True:  # up to the first line that is the boundary, whatever blanks are around it
        end = body.find(b"\n", at)
        if end == -1:
            return []
        line, at = body[at:end].strip(), end + 1
        if line == delimiter:
            break
    pattern = re.compile(rb"\r\n" + re.escape(delimiter) + rb"(\r\n|--)")
    files: list[bytes] = []
    while True:
        blank = body.find(b"\r\n\r\n", at)
        ends = pattern.search(body, max(at - 2, 0) if blank == -1 else blank + 2)
        if blank == -1 or ends is None:
            return files
        named, kind = _disposition(body[at:blank])
        if named or kind not in (b"", b"text/plain"):
            files.append(body[blank + 4 : ends.start()])
        if ends[1] == b"--":
            return files
        at = ends.end()


def php(request: Request) -> list[bytes]:
    """PHP: the first `boundary` in the header, up to a quote, a comma or a semicolon; line feeds are enough."""
    value = request.content_types[0]
    at = value.lower().find(b"boundary")
    equals = value.find(b"=", at)
    if not value.lower().startswith(b"multipart/form-data") or at == -1 or equals == -1:
        return []
    rest = value[equals + 1 :]
    name = rest[1:].partition(b'"')[0] if rest.startswith(b'"') else re.split(rb"[,;]", rest)[0]
    delimiter = b"--" + name
    files: list[bytes] = []
    body, at = request.body, 0
    while True:
        while True:  # lines are read until one is the boundary
            end = body.find(b"\n", at)
            if end == -1:
                return files
            line, at = body[at:end].removesuffix(b"\r"), end + 1
            if line == delimiter:
                break
        blank = re.compile(rb"\r?\n\r?\n").search(body, at - 1)
        if blank is None:
            return files
        head = body[at : blank.start()]
        stop = body.find(b"\n" + delimiter, blank.end() - 1)
        if stop == -1:
            return files
        data = body[blank.end() : stop].removesuffix(b"\r")
        if _disposition(head)[0]:
            files.append(data)
        at = stop + 1


def busboy(request: Request) -> list[bytes]:
    """busboy (Node): a header that is well-formed, the first of two parameters, CRLF before boundaries."""
    value = request.content_types[0].decode("latin-1")
    token = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
    if not re.match(r"\s*multipart/form-data\s*(;|\Z)", value, re.IGNORECASE):
        return []
    found = re.search(rf';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({token}))', value, re.IGNORECASE)
    if found is None:
        return []
    name = re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
    delimiter = b"\r\n--" + name.encode("latin-1")
    pieces = (b"\r\n" + request.body).split(delimiter)
    files: list[bytes] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            break
        if not piece.startswith(b"\r\n"):
            continue
        head, blank, data = piece[2:].partition(b"\r\n\r\n")
        named, kind = _disposition(head)
        if blank and (named or kind == b"application/octet-stream"):
            files.append(data)
    return files


def go(request: Request) -> list[bytes]:
    """Go's mime/multipart: one parameter of a name, blanks behind boundaries, line feeds where the first line has."""
    found = re.findall(rb'boundary=(?:"([^"]*)"|([^;\s]+))', request.content_types[0], re.IGNORECASE)
    if len(found) != 1 or not re.match(rb"\s*multipart/(form-data|mixed)", request.content_types[0], re.IGNORECASE):
        return []
    delimiter = re.escape(b"--" + (found[0][0] or found[0][1]))
    first = re.search(rb"(?:\A|\n)" + delimiter + rb"[ \t]*(\r?\n)", request.body)
    if first is None:
        return []
    end = first[1]
    pieces = re.split(re.escape(end) + delimiter + rb"(?=[ \t]*\r?\n|--)", request.body[first.end() - len(end) :])
    files: list[bytes] = []
    for piece in pieces:
        if piece.startswith(b"--"):
            break
        head, blank, data = re.sub(rb"\A[ \t]*\r?\n", b"", piece).partition(end + end)
        if blank and _disposition(head)[0]:
            files.append(data)
    return files


def werkzeug(request: Request) -> list[bytes]:
    """werkzeug (Flask): any line end before and behind a boundary, blanks behind it, a preamble let go of."""
    found = re.search(rb'boundary=(?:"([^"]*)"|([^;\s]+))', request.content_types[0], re.IGNORECASE)
    if found is None or not request.content_types[0].lower().startswith(b"multipart/form-data"):
        return []
    delimiter = re.escape(b"--" + (found[1] or found[2]))
    ends = rb"(?:\r\n|\n|\r)"
    marks = list(
        re.finditer(rb"(?:\A|" + ends + rb")" + delimiter + rb"(--[^\S\n\r]*|[^\S\n\r]*" + ends + rb")", request.body)
    )
    files: list[bytes] = []
    for mark, following in pairwise(marks):
        if mark[1].startswith(b"--"):
            break
        piece = request.body[mark.end() : following.start()]
        blank = re.search(rb"\r\n\r\n|\r\r|\n\n", piece)
        if blank is not None and _disposition(piece[: blank.start()])[0]:
            files.append(piece[blank.end() :])
    return files


READERS: dict[str, Reader] = {"rack": rack, "php": php, "busboy": busboy, "go": go, "werkzeug": werkzeug}
"""All of them, by name."""


def seeds(count: int, seed: int) -> Iterator[int]:
    """Yield the seeds of one run."""
    yield from range(seed * 1_000_003, seed * 1_000_003 + count)
