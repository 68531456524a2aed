"""Strings in many scripts, made at random from a seed, for tokenizers to disagree about."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

# First and last character of letters in living scripts, and what else people type.
_SCRIPTS = (
    ("a", "z"), ("A", "Z"), ("À", "ÿ"), ("Ā", "ſ"), ("Ạ", "ỹ"), ("α", "ω"), ("Α", "Ω"), ("а", "я"), ("А", "Я"),
    ("ա", "ֆ"), ("א", "ת"), ("ا", "ي"), ("ܐ", "ܬ"), ("अ", "ह"), ("অ", "হ"), ("ਅ", "ਹ"), ("અ", "હ"), ("அ", "ஹ"),
    ("అ", "హ"), ("ಅ", "ಹ"), ("അ", "ഹ"), ("අ", "ෆ"), ("ก", "ฮ"), ("ກ", "ຮ"), ("ཀ", "ཧ"), ("က", "အ"), ("ა", "ჰ"),
    ("ሀ", "ፐ"), ("Ꭰ", "Ᏼ"), ("ក", "អ"), ("ᠠ", "ᡀ"), ("ぁ", "ん"), ("ァ", "ン"), ("一", "鿕"), ("가", "힣"),
    ("ㄅ", "ㄩ"),
)  # fmt: skip
_MARKS = tuple("\u0301\u0308\u0327\u093e\u0940\u064b\u0e31\u0e34\u200d\u200c\u200f\ufe0f")
_SIGNS = tuple("0123456789!?.,;:'\"()[]{}<>@#$%&*+-=/\\|~^_`€£¥©®™°²½×÷«»“”‘’…–—•¿¡§¶∑∞≠≤→⇒♥★")
_FACES = ("😀", "👍🏽", "👨‍👩‍👧", "🏳️‍🌈", "🇩🇪", "❤️", "🐈‍⬛", "🔴", "⚠️")
_WORDS = (
    "a", "an", "the", "photo", "picture", "of", "cat", "dog", "child", "adult", "red", "circle", "drawn", "it's",
    "don't", "we're", "I'll", "they've", "he'd", "naïve", "café", "résumé", "straße", "İstanbul", "ΟΔΟΣ", "ﬁne", "ﬀ",
    "Ⅷ", "½", "&amp;", "&lt;b&gt;", "&#39;", "http://example.org/a?b=c", "foo_bar", "snake_case", "3.14", "1,000",
    "2nd", "C++", "#tag", "@name", "e-mail", "NASA", "iPhone", "don’t", "ÃƒÂ©", "â€™", "ｆｕｌｌｗｉｄｔｈ", "㎏", "ﷺ",
)  # fmt: skip
_SPACES = (" ", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2009")


def strings(count: int, seed: int = 0) -> Iterator[str]:
    """Yield so many strings, of one to ten words each."""
    rng = Random(f"strings {seed}")
    for _ in range(count):
        words = [_word(rng) for _ in range(rng.randint(1, 10))]
        yield "".join(word + rng.choice(_SPACES) for word in words).rstrip() or "x"


def _word(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(_WORDS)
    if kind < 0.36:
        return rng.choice(_FACES)
    if kind < 0.46:
        return "".join(rng.choice(_SIGNS) for _ in range(rng.randint(1, 4)))
    first, last = rng.choice(_SCRIPTS)
    letters = [chr(rng.randint(ord(first), ord(last))) for _ in range(rng.randint(1, 8))]
    if rng.random() < 0.15:
        letters.insert(rng.randint(1, len(letters)), rng.choice(_MARKS))
    return "".join(letters)
