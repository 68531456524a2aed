"""Numbers that come from outside, kept within what the ledger's 64 bits can hold. Pure; knows no store.

Whoever lists objects passes every time and size through here: a file system, a server or a stranger may say anything.
A time is clamped, because it only tells versions of an object apart; a size cannot be, so one that none can have is
none, and its object a gap.
"""

from __future__ import annotations

FIRST_NS = -(2**63)
"""The earliest time there is here, in September 1677."""
LAST_NS = 2**63 - 1
"""The latest, in April 2262."""
MOST_BYTES = 2**63 - 1
_SECOND_NS = 10**9


def clamped_ns(time_ns: int) -> int:
    """Return a time in epoch nanoseconds, or the nearest that fits."""
    return min(max(time_ns, FIRST_NS), LAST_NS)


def ns_of(time_s: object) -> int | None:
    """Return epoch seconds as nanoseconds that fit; None for what is no time at all.

    Fractions are rounded to microseconds, which is all that a float has of them today.
    """
    if isinstance(time_s, int):
        return clamped_ns(time_s * _SECOND_NS)
    if not isinstance(time_s, float) or time_s != time_s:  # NaN is no time
        return None
    if abs(time_s) > LAST_NS / _SECOND_NS:  # infinity as well
        return LAST_NS if time_s > 0 else FIRST_NS
    return clamped_ns(round(time_s * 1e6) * 1000)


def size_of(said: object) -> int | None:
    """Return a number of bytes, given as a number or as decimal digits; None for what no object can have."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) <= len(str(MOST_BYTES)):
        said = int(said)
    if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= MOST_BYTES:
        return said
    return None
