"""The test vectors of docs/sharing.md, made from nothing but the numbers in it. `python -m support.shared_vectors`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from fedi_safety.sharing.change import LIFE_S, Entry, KeyChange, Retraction, genesis, line_of, link_of, uuid7
from fedi_safety.sharing.minisign import SecretKey
from fedi_safety.sharing.signed import Statement, What, signed_head

PAGE = Path(__file__).parents[2] / "docs/sharing.md"
_BLOCK = re.compile(r"(<!-- vectors -->\n```text\n).*?(```\n)", re.DOTALL)
_AT = 1_800_000_000
NAME = "a.example"


def key(number: int) -> SecretKey:
    """The key whose 32 secret bytes are all this number."""
    return SecretKey(bytes([number]) * 32)


def lines() -> list[bytes]:
    """Four changes: a picture, a clip's frame, one taken back, and another key."""
    one, other = key(1), key(2)
    told = [genesis(NAME, one.public.text)]
    made: list[bytes] = []

    def add(change: Entry | Retraction | KeyChange) -> None:
        made.append(line_of(change))
        told.append(link_of(made[-1]))

    def entry(seq: int, kind: str, value: str, **others: Any) -> Entry:
        at = _AT + seq
        known: dict[str, Any] = {"category": "", "clip": "", "quality": 0, "type": "recommendation", **others}
        return Entry(
            basis="own", hash=value, kind=kind, prev=told[-1], seq=seq, time=at, seen=_AT // 86_400 * 86_400,
            expires=at + LIFE_S, id=uuid7(at, bytes([seq]) * 10), verdict="condemned", **known,
        )  # fmt: skip

    add(entry(1, "sha256", "11" * 32, category="known-red-circle"))
    add(entry(2, "pdq", "0f" * 32, clip="22" * 32, quality=88, type="advisory"))
    add(Retraction("", "11" * 32, uuid7(_AT + 3, bytes([3]) * 10), "sha256", told[-1], 3, _AT + 3))
    bare = KeyChange(uuid7(_AT + 4, bytes([4]) * 10), other.public.text, told[-1], 4, "", _AT + 4)
    add(bare.signed_by(one))
    return made


def text() -> str:
    """The block of the page."""
    made = lines()
    head = Statement(What.HEAD, NAME, 4, link_of(made[-1]), 1, _AT + 5, _AT + 5 + 14 * 86_400)
    said = [
        f"first key  {key(1).public.text}", f"second key {key(2).public.text}",
        f"genesis    {genesis(NAME, key(1).public.text)}", "",
    ]  # fmt: skip
    for line in made:
        said += [line.decode(), f"link {link_of(line)}", ""]
    said += ["head, signed by the second key:", signed_head(head, key(2)).decode().rstrip("\n")]
    return "\n".join(said) + "\n"


def written(page: str) -> str:
    """The page with its block made anew."""
    found = _BLOCK.sub(lambda m: m[1] + text() + m[2], page)
    assert _BLOCK.search(page), "the page has no block for vectors"
    return found


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{PAGE.name}: vectors made anew\n")
