"""NCMEC's hash sharing, version 2: the XML that its API answers with, pages as they were saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from fedi_safety.core.errors import KnownUsageError, printable
from fedi_safety.known.formats.items import MOST_TEXT, Flaw, Item, Source, entry_of, withdrawn
from fedi_safety.known.formats.stream import MOST_LINE, pieces
from fedi_safety.known.records import Withdrawn

_THINGS = frozenset({"image", "video", "deletedImage", "deletedVideo"})
_DEEPEST = 32
_MOST_OF_THING = 1_000  # fingerprints, texts and opinions, each; real ones have a dozen
_MOST_TAG = 1 << 20  # bytes that belong to one tag


@dataclass(slots=True)
class _Thing:
    """One image or video as far as it was read."""

    name: str
    place: str
    texts: dict[str, str] = field(default_factory=dict)
    member: str = ""
    hashes: list[tuple[str, str]] = field(default_factory=list)
    opinions: dict[tuple[str, str], int] = field(default_factory=dict)

    def items(self, *, anew: bool) -> Iterator[Item]:
        kind = self.name.removeprefix("deleted").lower()
        at = self.texts.get("timestamp", "")
        # Members number their own entries.
        name = "-".join(filter(None, (self.member, kind, self.texts.get("id", ""))))
        if self.name.startswith("deleted"):
            yield withdrawn(self.place, name if self.texts.get("id") else "", at)
            return
        if anew and self.texts.get("id") and len(name) <= MOST_TEXT:
            yield Withdrawn(printable(name), again=True)
        if not self.hashes:
            yield Flaw(self.place, "no hash")
        for each, text in self.hashes:
            positive, negative = (self.opinions.get((side, each.lower()), 0) for side in ("affirmative", "negative"))
            yield entry_of(
                self.place,
                each,
                text,
                id=name if self.texts.get("id") else "",
                category=self.texts.get("classification", ""),
                seen=at,
                positive=positive,
                negative=negative,
            )


class _Reader:
    """Takes XML by the piece, and gives what is complete."""

    def __init__(self, source: Source, *, anew: bool = False) -> None:
        self.following = ""
        self._anew = anew
        self._source = source
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._thing: _Thing | None = None
        self._side: tuple[str, str] | None = None
        self._done: list[Item] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._taken = 0

    def take(self, piece: bytes, final: bool = False) -> list[Item]:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            cause = f"line {error.lineno}, column {error.offset}: {expat.ErrorString(error.code)}"
            raise KnownUsageError(str(self._source.path), cause, "it is damaged or cut off; get it anew") from None
        self._taken += len(piece)
        if self._taken - self._parser.CurrentByteIndex > _MOST_TAG:
            raise self._strange(f"a tag of more than {_MOST_TAG} bytes")
        done, self._done = self._done, []
        return done

    def _strange(self, what: str) -> KnownUsageError:
        cause = f"line {self._parser.CurrentLineNumber}: {what}"
        return KnownUsageError(str(self._source.path), cause, "NCMEC's answers have none; get it anew")

    def _refuse(self, *_: Any) -> None:
        raise self._strange("a document type, which may hold entities")

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if not self._path and name != "queryResult":
            cause = f"its root is <{name[:40]}>, and NCMEC's answers have <queryResult>"
            raise KnownUsageError(str(self._source.path), cause, "name another format with --format")
        self._path.append(name)
        self._text, self._length = [], 0
        if len(self._path) > _DEEPEST:
            raise self._strange(f"more than {_DEEPEST} elements in each other")
        if self._thing is None:
            if name in _THINGS:
                self._thing = _Thing(name, f"line {self._parser.CurrentLineNumber}")
        elif name == "member" and self._path[-2] == self._thing.name:
            self._thing.member = attributes.get("id", "")
        elif name in ("affirmativeFeedback", "negativeFeedback"):
            self._side = name.removesuffix("Feedback"), attributes.get("type", "").lower()
        elif name == "member" and self._side is not None:
            self._thing.opinions[self._side] = self._thing.opinions.get(self._side, 0) + 1

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > MOST_LINE:
            raise self._strange(f"a text of more than {MOST_LINE} characters")
        self._text.append(text)

    def _end(self, _tag: str) -> None:
        name = self._path.pop()
        text = "".join(self._text).strip()
        self._text, self._length = [], 0
        thing = self._thing
        if thing is None:
            if name == "next" and self._path[-1:] == ["paging"]:
                self.following = text
            return
        if name == thing.name:
            self._done.extend(thing.items(anew=self._anew))
            self._thing = self._side = None
        elif name in ("affirmativeFeedback", "negativeFeedback"):
            self._side = None
        elif self._path[-1] == "fingerprints":
            thing.hashes.append((name, text))
        elif self._path[-1] == thing.name:
            thing.texts[name] = text
        if max(map(len, (thing.hashes, thing.texts, thing.opinions))) > _MOST_OF_THING:
            raise self._strange(f"an image or video with more than {_MOST_OF_THING} fingerprints or properties")


def read_ncmec(source: Source, *, anew: bool = False) -> Iterator[Item]:
    """Yield every fingerprint of images and videos, and what was deleted. Document types and entities are refused.

    With `anew` each takes the place of all that its list had of it, also of kinds of hashes that it has no more.
    """
    reader = _Reader(source, anew=anew)
    for piece in pieces(source.path):
        yield from reader.take(piece)
    yield from reader.take(b"", final=True)


def next_page(source: Source) -> str:
    """Return what an answer says of the next one, as it says it; empty where it is the last."""
    reader = _Reader(source)
    for piece in pieces(source.path):
        reader.take(piece)
    reader.take(b"", final=True)
    return reader.following
