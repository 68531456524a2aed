"""What detectors gave each frame of a medium, as one small table of bytes: rules hold in a picture, not in a medium.

A million of them lie in the ledger and are decided anew by the page, which reads them as arrays (`ledger.score_pages`);
here they are read one by one. Which frames belong together is `pictures`' to say. Pure, standard library alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION = 1
NO_TIME = -1

HEAD = struct.Struct("<BIHI")
"""Version, rows, bytes of names, bytes of places. Names follow, then the rows, then the places."""

ROW = struct.Struct("<iiHq")
"""Frame, picture, stream, milliseconds from the beginning or -1; then a float64 for each name, NaN: not measured."""

_MAX_NAMES = 500
_MAX_WORD = 200
_MAX_FRAME = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The signals of one judged frame. `picture` and `stream` are `Frame.picture` and `Place.stream`.

    A signal that is not in `signals` was not measured on this frame.
    """

    frame: int
    picture: int
    stream: int = 0
    time_ms: int | None = None
    where: str = ""
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrameScores:
    """The table of a content that shows several pictures; `ONE_PICTURE` stands for every other one."""

    data: bytes

    @classmethod
    def of(cls, rows: Sequence[FrameScore]) -> FrameScores:
        """Return the table of these frames: pictures in their order, the frames of each together."""
        if len({row.picture for row in rows}) < 2:
            return ONE_PICTURE
        names = sorted({name for row in rows for name in row.signals})
        ordered = sorted(rows, key=lambda row: (row.picture, row.frame))
        values = struct.Struct(f"<{len(names)}d")
        nan = math.nan
        body = b"".join(
            ROW.pack(row.frame, row.picture, row.stream, NO_TIME if row.time_ms is None else row.time_ms)
            + values.pack(*[row.signals.get(name, nan) for name in names])
            for row in ordered
        )
        head = "\n".join(names).encode()
        places = "\n".join(row.where for row in ordered).encode()
        return cls(HEAD.pack(VERSION, len(ordered), len(head), len(places)) + head + body + places)

    @classmethod
    def checked(cls, data: bytes) -> FrameScores:
        """Return the table that these bytes of a stranger are. Raises `ValueError` where they are none."""
        table = cls(data)
        if not data:
            return table
        try:
            version, count, names_size, places_size = HEAD.unpack_from(data)
            names = data[HEAD.size : HEAD.size + names_size].decode().split("\n") if names_size else []
            size = HEAD.size + names_size + count * (ROW.size + 8 * len(names)) + places_size
            if version != VERSION or size != len(data) or count < 2 or len(names) > _MAX_NAMES:
                raise ValueError("not a table of frames")
            rows = table.rows()
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError("not a table of frames") from error
        words = [*names, *(row.where for row in rows)]
        sound = all(
            0 <= row.frame <= _MAX_FRAME
            and 0 <= row.picture <= _MAX_FRAME
            and (row.time_ms is None or row.time_ms >= 0)
            and all(0 <= value <= 1 for value in row.signals.values())
            for row in rows
        )
        if not sound or any(len(word) > _MAX_WORD for word in words) or len(set(names)) != len(names):
            raise ValueError("a table of frames with impossible numbers or words")
        if cls.of(rows) != table:
            raise ValueError("a table of frames in no order")
        return table

    def rows(self) -> list[FrameScore]:
        """Return the frames, pictures in their order; none for `ONE_PICTURE`. Raises what cut bytes raise."""
        if not self.data:
            return []
        _, count, names_size, places_size = HEAD.unpack_from(self.data)
        at = HEAD.size + names_size
        names = self.data[HEAD.size : at].decode().split("\n") if names_size else []
        values = struct.Struct(f"<{len(names)}d")
        size = ROW.size + values.size
        places = self.data[at + count * size :][:places_size].decode().split("\n")
        found = []
        for number in range(count):
            start = at + number * size
            frame, picture, stream, time_ms = ROW.unpack_from(self.data, start)
            cells = zip(names, values.unpack_from(self.data, start + ROW.size), strict=True)
            signals = {name: value for name, value in cells if value == value}
            time = None if time_ms == NO_TIME else time_ms
            found.append(
                FrameScore(frame, picture, stream, time, places[number] if number < len(places) else "", signals)
            )
        return found


ONE_PICTURE = FrameScores(b"")
"""All that was judged are views of one picture, so that a content's highest values are that picture's."""
