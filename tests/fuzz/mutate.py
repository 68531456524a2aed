"""Spoils files: bits, numbers, lengths, whole parts moved, dropped, repeated or taken from another file.

The same corpus, seed and number always give the same input.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from fuzz.pieces import Piece, mended, pieces

_MOST_BYTES = 256 * 1024
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Seed:
    """A file to begin with, and the group that it is drawn from."""

    group: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Input:
    """A spoiled file, the seed's name, and what was done to it."""

    data: bytes
    origin: str
    steps: tuple[str, ...]


class Mutator:
    """Makes inputs out of a corpus."""

    def __init__(self, corpus: Sequence[Seed]) -> None:
        """Group the corpus; every group is drawn equally often, however many files it has."""
        groups: dict[str, list[Seed]] = {}
        for seed in corpus:
            groups.setdefault(seed.group, []).append(seed)
        self._groups = [groups[name] for name in sorted(groups)]

    def input(self, seed: int, number: int) -> Input:
        """Return the input of this number in a run of this seed."""
        random = Random(f"{seed} {number}")
        origin = self._draw(random)
        data, steps = origin.data, []
        for _ in range(random.choice((1, 1, 2, 2, 3, 5))):
            step = random.choice(_STEPS)
            data = step(data, random, self._draw(random).data)[:_MOST_BYTES]
            steps.append(step.__name__.strip("_"))
        if random.random() < 0.7:
            data = mended(data)
        return Input(data, origin.name, tuple(steps))

    def _draw(self, random: Random) -> Seed:
        return random.choice(random.choice(self._groups))


Step = Callable[[bytes, Random, bytes], bytes]  # what is spoiled, the dice, and another file


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _place(data: bytes | bytearray, random: Random) -> int:
    """Draw a place, half the time among the first bytes: headers decide most."""
    most = min(len(data), 128) if random.random() < 0.5 else len(data)
    return random.randrange(max(1, most))


def _span(data: bytes, random: Random) -> tuple[int, int]:
    """Draw one of the file's parts, or any stretch where it has none."""
    found = pieces(data)
    if found and random.random() < 0.85:
        part = random.choice(found)
        return part.start, part.end
    start = _place(data, random)
    return start, min(len(data), start + random.choice((1, 4, 16, 64, 256, 1024)))


def _bits(data: bytes, random: Random, _: bytes) -> bytes:
    spoiled = bytearray(data or b"\0")
    for _turn in range(random.choice((1, 1, 2, 4, 16))):
        spoiled[_place(spoiled, random)] ^= 1 << random.randrange(8)
    return bytes(spoiled)


def _noise(data: bytes, random: Random, _: bytes) -> bytes:
    return _put(data, _place(data, random), random.randbytes(random.choice((1, 2, 4, 8, 32, 200))))


def _number(data: bytes, random: Random, _: bytes) -> bytes:
    size = random.choice("BHI")
    value = random.choice(_NUMBERS) & (1 << 8 * struct.calcsize(size)) - 1
    return _put(data, _place(data, random), struct.pack(random.choice("<>") + size, value))


def _length(data: bytes, random: Random, other: bytes) -> bytes:
    """Make a length a lie: a little off, or an interesting number."""
    found = pieces(data)
    if not found:
        return _number(data, random, other)
    part: Piece = random.choice(found)
    order = "big" if part.big_endian else "little"
    old = int.from_bytes(data[part.length_at : part.length_at + part.length_size], order)  # type: ignore[arg-type]
    new = random.choice((old - 1, old + 1, old + 8, old * 2, old // 2, *_NUMBERS)) % (1 << 8 * part.length_size)
    return _put(data, part.length_at, new.to_bytes(part.length_size, order))  # type: ignore[arg-type]


def _cut(data: bytes, random: Random, _: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(data: bytes, random: Random, _: bytes) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random, _: bytes) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 7, 50)) + data[end:]


def _swap(data: bytes, random: Random, _: bytes) -> bytes:
    (a, b), (c, d) = sorted((_span(data, random), _span(data, random)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data[:a] + data[c:d] + data[b:]


def _zero(data: bytes, random: Random, _: bytes) -> bytes:
    start, end = _span(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def _splice(data: bytes, random: Random, other: bytes) -> bytes:
    """Put a part of another file in, over what is there or between."""
    start, end = _span(data, random)
    a, b = _span(other, random)
    return data[:start] + other[a:b] + data[end if random.random() < 0.5 else start :]


def _head(data: bytes, random: Random, other: bytes) -> bytes:
    """Give the file the first bytes of another one."""
    size = random.choice((4, 8, 12, 16, 32, 64))
    return _put(data, 0, other[:size])


def _behind(data: bytes, _: Random, other: bytes) -> bytes:
    return data + other


def _halves(data: bytes, random: Random, other: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


_STEPS: tuple[Step, ...] = (
    *(_bits, _bits, _noise, _number, _number, _length, _length, _length),
    *(_cut, _drop, _repeat, _swap, _zero, _splice, _splice, _head, _behind, _halves),
)
