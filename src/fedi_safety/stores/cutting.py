"""Parts a store's keys into parts of about one size, by what a few requests show of them. Knows no store."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from fedi_safety.core.keys import KeyRange

_ASKED = 32  # directories that are looked into, or pages that are asked for
_FINENESS = 4  # so many times as many keys are looked at as there will be parts
_FIRST, _LAST = 0x21, 0x7E  # what nearly every byte of a key is, and what every service takes in a request
_DEEP = 6  # bytes behind what keys have in common, between which is interpolated
_DEEP_LAST = 3  # bytes of the last key that are looked for


def cut_by_names(names: Callable[[bytes], Sequence[bytes]], within: KeyRange, most: int) -> list[bytes]:
    """Return at most `most` keys, ascending, spread over those that are met from the top down.

    `names` returns the keys in a directory (b"" is the root), those of directories with `/` at the end.
    """
    found: set[bytes] = set()
    level = [b""]
    asked = 0
    while level and len(found) < _FINENESS * most and asked < _ASKED:
        deeper: list[bytes] = []
        for directory in spread(level, _ASKED - asked):
            asked += 1
            for key in names(directory):
                if key.endswith(b"/"):
                    if within.reaches(key):
                        deeper.append(key)
                        found.add(key)
                elif within.holds(key):
                    found.add(key)
        level = sorted(deeper)
    return spread(sorted(key for key in found if within.holds(key)), most)


def cut_by_samples(following: Callable[[bytes], bytes | None], within: KeyRange, most: int) -> list[bytes]:
    """Return at most `most` keys, ascending, that lie about evenly between the first and the last one.

    `following` returns the first key behind one, or None. How many keys lie between two it cannot tell.
    """
    first = following(within.after or b"")
    if first is None or within.past(first):
        return []
    last = within.until or _last(following, first)
    alike = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[:alike]
    found: set[bytes] = set()
    bytes_used = bytes(range(_FIRST, _LAST + 1))
    for _ in range(2):  # the second time between the bytes that keys were seen to be made of
        low, high = (_number(key[alike:], bytes_used) for key in (first, last))
        for step in range(1, most + 1):
            key = following(common + _digits(low + (high - low) * step // (most + 1), bytes_used))
            if key is not None and within.holds(key) and key != first:
                found.add(key)
        if len(found) >= most:
            break
        bytes_used = bytes(sorted({*first[alike:], *(byte for key in found for byte in key[alike : alike + _DEEP])}))
        if not bytes_used:
            break
    return spread(sorted(found), most)


def _last(following: Callable[[bytes], bytes | None], first: bytes) -> bytes:
    """Return about the last key: how it begins, and what no key is behind."""
    shared, longer = 0, len(first)
    while shared < longer:  # how much of the first key all others begin with
        middle = (shared + longer + 1) // 2
        if following(first[:middle] + bytes([_LAST + 1])) is None:
            shared = middle
        else:
            longer = middle - 1
    begins = first[:shared]
    for _ in range(_DEEP_LAST):
        low, high = _FIRST, _LAST
        while low < high:  # the highest byte that keys lie behind
            middle = (low + high + 1) // 2
            if following(begins + bytes([middle])) is None:
                high = middle - 1
            else:
                low = middle
        begins += bytes([low])
    return begins + bytes([_LAST])


def _number(key: bytes, used: bytes) -> int:
    """Return where a key lies among those of the bytes `used`, ascending, as a number that grows with it."""
    number = 0
    for at in range(_DEEP):
        digit = min(bisect_left(used, key[at]), len(used) - 1) if at < len(key) else 0
        number = number * len(used) + digit
    return number


def _digits(number: int, used: bytes) -> bytes:
    found = []
    for _ in range(_DEEP):
        number, digit = divmod(number, len(used))
        found.append(used[digit])
    return bytes(reversed(found))


def spread(items: list[bytes], most: int) -> list[bytes]:
    """Return at most `most` of these, evenly spread, neither beginning nor ending with the outermost."""
    if len(items) <= most:
        return items
    return [items[len(items) * step // (most + 1)] for step in range(1, most + 1)]
