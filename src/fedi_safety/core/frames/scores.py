"""What detectors gave each frame of a medium, as one small table of bytes: rules hold in a picture, not in a medium.

A million of them lie in the ledger and are decided anew by the page, which reads them as arrays (`ledger.score_pages`);
here they are read one by one. Which frames belong together is `pictures`' to say. Pure, standard library alone.

A table also says which frames only a second pass showed, and whether one more pass could show any. Tables of version 1
say neither, nor does an empty one of several frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION = 2
OLDER = 1
CLOSED = 0x80
SECOND = 0x8000
NO_TIME = -1

HEAD = struct.Struct("<BIHI")
"""Version, rows, bytes of names, bytes of places. Names follow, then the rows, then the places.

With `CLOSED` in the version's byte no further pass would show more.
"""

ROW = struct.Struct("<iiHq")
"""Frame, picture, stream, milliseconds from the beginning or -1; then a float64 for each name, NaN: not measured.

With `SECOND` in the stream's number a second pass alone showed the frame.
"""

_MAX_NAMES = 500
_MAX_WORD = 200
_MAX_FRAME = (1 << 31) - 1
_MAX_STREAM = SECOND - 1


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The signals of one judged frame. `picture`, `stream`, `second` are those of its `Frame` and `Place`.

    A signal that is not in `signals` was not measured on this frame.
    """

    frame: int
    picture: int
    stream: int = 0
    time_ms: int | None = None
    where: str = ""
    signals: Mapping[str, float] = field(default_factory=dict)
    second: bool = False


@dataclass(frozen=True, slots=True)
class FrameScores:
    """The table of a content. It has rows where several pictures are shown, or a second pass was made.

    `ONE_PICTURE` is that of a single frame of which further passes could show more.
    """

    data: bytes

    @classmethod
    def of(cls, rows: Sequence[FrameScore], *, closed: bool = False) -> FrameScores:
        """Return the table of these frames: pictures in their order, the frames of each together.

        `closed` says that no further pass would show more.
        """
        if len({row.picture for row in rows}) < 2 and not any(row.second for row in rows):
            return ONE_PICTURE if len(rows) < 2 and not closed else cls(_head(0, b"", b"", closed=closed))
        names = sorted({name for row in rows for name in row.signals})
        ordered = sorted(rows, key=lambda row: (row.picture, row.frame))
        values = struct.Struct(f"<{len(names)}d")
        nan = math.nan
        body = b"".join(
            ROW.pack(
                row.frame,
                row.picture,
                row.stream | (SECOND if row.second else 0),
                NO_TIME if row.time_ms is None else row.time_ms,
            )
            + values.pack(*[row.signals.get(name, nan) for name in names])
            for row in ordered
        )
        head = "\n".join(names).encode()
        places = "\n".join(row.where for row in ordered).encode()
        return cls(_head(len(ordered), head, places, closed=closed) + head + body + places)

    @property
    def told(self) -> bool:
        """Whether it is known which frames a second pass showed; not of what an older version judged."""
        return bool(self.data) and self.data[0] & ~CLOSED != OLDER

    @property
    def closed(self) -> bool:
        """Whether no further pass would show more: a second one was made, or there is no more to be seen."""
        return bool(self.data) and bool(self.data[0] & CLOSED)

    def as_older(self) -> FrameScores:
        """Return it as versions understand it that know of no second pass."""
        if len({row.picture for row in self.rows()}) < 2:
            return ONE_PICTURE
        data = bytearray(self.data)
        data[0] = OLDER
        _, count, names_size, places_size = HEAD.unpack_from(data)
        size = (len(data) - HEAD.size - names_size - places_size) // count
        for start in range(HEAD.size + names_size, len(data) - places_size, size):
            data[start + 9] &= ~(SECOND >> 8)  # the upper byte of the stream
        return FrameScores(bytes(data))

    @classmethod
    def checked(cls, data: bytes) -> FrameScores:
        """Return the table that these bytes of a stranger are. Raises `ValueError` where they are none."""
        table = cls(data)
        if not data:
            return table
        try:
            version, count, names_size, places_size = HEAD.unpack_from(data)
            closed, version = bool(version & CLOSED), version & ~CLOSED
            names = data[HEAD.size : HEAD.size + names_size].decode().split("\n") if names_size else []
            size = HEAD.size + names_size + count * (ROW.size + 8 * len(names)) + places_size
            if version not in (VERSION, OLDER) or size != len(data) or len(names) > _MAX_NAMES:
                raise ValueError("not a table of frames")
            rows = table.rows()
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError("not a table of frames") from error
        words = [*names, *(row.where for row in rows)]
        sound = all(
            0 <= row.frame <= _MAX_FRAME
            and 0 <= row.picture <= _MAX_FRAME
            and row.stream <= _MAX_STREAM
            and (row.time_ms is None or row.time_ms >= 0)
            and all(0 <= value <= 1 for value in row.signals.values())
            for row in rows
        )
        if not sound or any(len(word) > _MAX_WORD for word in words) or len(set(names)) != len(names):
            raise ValueError("a table of frames with impossible numbers or words")
        made = cls.of(rows, closed=closed) if rows else cls(_head(0, b"", b"", closed=closed))
        if (made.as_older() if version == OLDER else made) != table:
            raise ValueError("a table of frames in no order")
        return table

    def rows(self) -> list[FrameScore]:
        """Return the frames, pictures in their order; none for `ONE_PICTURE`.

        Raises `ValueError` or `struct.error` for what is no table.
        """
        if not self.data:
            return []
        _, count, names_size, places_size = HEAD.unpack_from(self.data)
        at = HEAD.size + names_size
        names = self.data[HEAD.size : at].decode().split("\n") if names_size else []
        values = struct.Struct(f"<{len(names)}d")
        size = ROW.size + values.size
        if at + count * size + places_size != len(self.data):
            raise ValueError("not a table of frames")
        places = self.data[at + count * size :][:places_size].decode().split("\n")
        found = []
        for number in range(count):
            start = at + number * size
            frame, picture, stream, time_ms = ROW.unpack_from(self.data, start)
            cells = zip(names, values.unpack_from(self.data, start + ROW.size), strict=True)
            signals = {name: value for name, value in cells if value == value}
            time = None if time_ms == NO_TIME else time_ms
            where = places[number] if number < len(places) else ""
            second, stream = bool(stream & SECOND), stream & ~SECOND
            found.append(FrameScore(frame, picture, stream, time, where, signals, second))
        return found


def _head(count: int, names: bytes, places: bytes, *, closed: bool) -> bytes:
    return HEAD.pack(VERSION | (CLOSED if closed else 0), count, len(names), len(places))


def closed(frames: FrameScores | None) -> FrameScores | None:
    """Return the table of a content of which no further pass would show more."""
    if frames is None or not frames.data:
        return None if frames is None else FrameScores.of((), closed=True)
    return FrameScores(bytes([frames.data[0] | CLOSED]) + frames.data[1:]) if frames.told else frames


ONE_PICTURE = FrameScores(b"")
"""One frame shows one picture, so that a content's highest values are that picture's."""
