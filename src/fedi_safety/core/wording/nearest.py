"""The word that somebody will have meant who wrote one that there is not."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 60  # characters of a word that is compared; what is longer is no slip of the hand


def nearest(written: str, known: Iterable[str]) -> str | None:
    """Return the known word that was meant; None where none is near."""
    from difflib import get_close_matches

    by_folded = {word.casefold(): word for word in known}
    near = get_close_matches(written[:_MOST].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """Return ` (did you mean x?)` to follow what names the mistake; nothing where no known word is near."""
    near = nearest(written, known)
    return f" (did you mean {near}?)" if near else ""
