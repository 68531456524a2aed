"""The form of what is shared: one way to write each change, links that hold, signatures as minisign's, vectors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.sharing.change import (
    LIFE_S,
    MAX_LINE,
    Entry,
    KeyChange,
    Malformed,
    Retraction,
    line_of,
    link_of,
    read_change,
    uuid7,
)
from fedi_safety.sharing.minisign import BadSignature, PublicKey, SecretKey, Signature, digest_of
from fedi_safety.sharing.signed import Statement, What, read_head, signed_head, split
from support import needs, shared_vectors
from support.servers import debian

AT = 1_800_000_000
ENTRY = Entry(
    "own", "a-rule", "", AT + LIFE_S, "ab" * 32, uuid7(AT, bytes(10)), "pdq", "00" * 32, 88, AT, 7, AT,
    "recommendation", "condemned",
)  # fmt: skip
HEAD = Statement(What.HEAD, "a.example", 7, "cd" * 32, 3, AT, AT + 86_400)


def test_what_the_page_says_is_what_anybody_computes_from_its_words() -> None:
    """Written from the page alone: hashlib, json and Ed25519, nothing of the program's."""
    page = shared_vectors.PAGE.read_text("utf-8")
    block = re.search(r"<!-- vectors -->\n```text\n(.*?)```", page, re.DOTALL)
    assert block is not None
    said = block[1]
    keys = [base64.b64decode(word) for word in re.findall(r"^\w+ key +(\S+)$", said, re.MULTILINE)]
    first, second = (Ed25519PublicKey.from_public_bytes(key[10:]) for key in keys)
    assert [key[:2] for key in keys] == [b"Ed", b"Ed"]
    before = re.search(r"^genesis +(\w+)$", said, re.MULTILINE)
    assert before is not None
    text = re.search(r"^first key +(\S+)$", said, re.MULTILINE)
    assert text is not None
    began = hashlib.sha256(f"shared list, format 1\na.example\n{text[1]}\n".encode()).hexdigest()
    assert began == before[1]
    link = began
    pairs = re.findall(r"^(\{.*\})\nlink (\w+)$", said, re.MULTILINE)
    assert len(pairs) == 4
    for seq, (line, told) in enumerate(pairs, 1):
        change = json.loads(line)
        assert json.dumps(change, sort_keys=True, separators=(",", ":")) == line
        assert (change["seq"], change["prev"]) == (seq, link)
        link = hashlib.sha256(line.encode()).hexdigest()
        assert link == told
    signature = base64.b64decode(change.pop("signature"))
    first.verify(signature, json.dumps(change, sort_keys=True, separators=(",", ":")).encode())
    _, own, comment, whole, head = said.split("second key:\n")[1].splitlines()
    own_bytes = base64.b64decode(own)
    assert own_bytes[:2] == b"ED" and own_bytes[2:10] == keys[1][2:10]
    second.verify(own_bytes[10:], hashlib.blake2b(head.encode() + b"\n").digest())
    second.verify(base64.b64decode(whole), own_bytes[10:] + comment.removeprefix("trusted comment: ").encode())
    assert (json.loads(head)["link"], json.loads(head)["seq"]) == (link, 4)


def test_the_vectors_are_what_the_program_writes_and_reads() -> None:
    page = shared_vectors.PAGE.read_text("utf-8")
    assert shared_vectors.written(page) == page, "PYTHONPATH=src:tests python -m support.shared_vectors"
    assert [line_of(read_change(line)) for line in shared_vectors.lines()] == shared_vectors.lines()


@given(
    st.builds(
        replace,
        st.just(ENTRY),
        category=st.from_regex(r"\A[a-z0-9._-]{0,64}\Z"),
        hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
        quality=st.integers(0, 100),
        seq=st.integers(0, 2**53 - 1),
        seen=st.integers(0, 2**53 - 1),
        verdict=st.sampled_from(["condemned", "harmless"]),
    )
)
def test_every_change_is_read_as_it_was_written(entry: Entry) -> None:
    assert read_change(line_of(entry)) == entry
    assert len(line_of(entry)) <= MAX_LINE


@given(st.binary(max_size=200))
def test_any_other_bytes_are_malformed_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(Malformed):
        read_change(junk)


LINE = line_of(ENTRY)
OTHERS = {
    "a blank": LINE.replace(b'":7', b'": 7'),
    "keys in another order": b'{"zzz":1,' + LINE[1:],
    "a key twice": LINE.replace(b'"seq":7', b'"seq":7,"seq":7'),
    "a fraction": LINE.replace(b'"seq":7', b'"seq":7.0'),
    "an exponent": LINE.replace(b'"seq":7', b'"seq":7e0'),
    "true for one": LINE.replace(b'"seq":7', b'"seq":true'),
    "no number": LINE.replace(b'"seq":7', b'"seq":NaN'),
    "null": LINE.replace(b'"seq":7', b'"seq":null'),
    "below nothing": LINE.replace(b'"seq":7', b'"seq":-7'),
    "2^53": LINE.replace(b'"seq":7', b'"seq":9007199254740992'),
    "a number as text": LINE.replace(b'"seq":7', b'"seq":"7"'),
    "an escaped letter": LINE.replace(b'"own"', b'"\\u006fwn"'),
    "large digits": LINE.replace(b"abab", b"ABAB"),
    "a line feed": LINE + b"\n",
    "nested": LINE.replace(b'"seq":7', b'"seq":{}'),
    "deeply nested": b"[" * 900,
    "many objects": b'{"a":' * 100,
    "too long": LINE.replace(b'"a-rule"', b'"' + b"a" * MAX_LINE + b'"'),
    "a wrong length": LINE.replace(b"ab" * 32, b"ab" * 31),
    "of another kind's length": LINE.replace(b'"pdq"', b'"md5"'),
    "PhotoDNA": LINE.replace(b'"pdq"', b'"pdna"'),
    "another's word": LINE.replace(b'"own"', b'"list"'),
    "unknown type": LINE.replace(b"recommendation", b"command"),
    "quality 101": LINE.replace(b'"quality":88', b'"quality":101'),
    "for three years": line_of(replace(ENTRY, expires=AT + LIFE_S + 1)),
    "ended before it began": line_of(replace(ENTRY, expires=AT)),
    "an advisory of harmlessness": line_of(replace(ENTRY, type="advisory", verdict="harmless")),
    "quality of bytes": line_of(replace(ENTRY, kind="sha256")),
    "a clip by its bytes": line_of(replace(ENTRY, kind="sha256", quality=0, clip="ab" * 32)),
    "markup": line_of(replace(ENTRY, category="<b>")),
    "another UUID": line_of(replace(ENTRY, id="018bcfe5-6800-4000-8000-000000000000")),
    "a key less": LINE.replace(b'"quality":88,', b""),
    "a key more": LINE.replace(b'"quality":88,', b'"quality":88,"reason":"x",'),
}


@pytest.mark.parametrize("name", OTHERS)
def test_there_is_no_second_way_to_write_a_change(name: str) -> None:
    assert OTHERS[name] != LINE
    with pytest.raises(Malformed):
        read_change(OTHERS[name])


def test_a_new_key_is_signed_by_the_old_one_over_everything_but_the_signature() -> None:
    old, new, third = (SecretKey(bytes([n]) * 32) for n in (1, 2, 3))
    change = KeyChange(uuid7(AT, bytes(10)), new.public.text, "00" * 32, 8, "", AT).signed_by(old)
    assert read_change(line_of(change)) == change
    assert change.is_signed_by(old.public) and not change.is_signed_by(new.public)
    assert not replace(change, seq=9).is_signed_by(old.public)
    assert not replace(change, key=third.public.text).is_signed_by(old.public)


def test_a_head_is_believed_of_its_key_alone_and_word_by_word() -> None:
    key, other = SecretKey(b"k" * 32), SecretKey(b"o" * 32)
    whole = signed_head(HEAD, key)
    assert read_head(whole).check(key.public) == HEAD
    with pytest.raises(BadSignature, match="signed by the key"):
        read_head(whole).check(other.public)
    with pytest.raises(BadSignature, match="does not fit"):
        read_head(whole).check(PublicKey(key.public.id, other.public.raw))
    with pytest.raises(BadSignature, match="does not fit"):
        read_head(whole.replace(b'"seq":7', b'"seq":8')).check(key.public)
    with pytest.raises(BadSignature, match="does not fit"):
        read_head(whole.replace(b"seq=7 expires", b"seq=8 expires")).check(key.public)
    text, body = split(whole)
    lying = key.signature(digest_of(body), HEAD.comment.replace("seq=7", "seq=9")).encode() + body
    with pytest.raises(BadSignature, match="something else"):
        read_head(lying).check(key.public)
    snapshot = replace(HEAD, what=What.SNAPSHOT)
    as_head = key.signature(digest_of(snapshot.line + b"\n"), snapshot.comment).encode() + snapshot.line + b"\n"
    with pytest.raises(Malformed, match="no head"):
        read_head(as_head)
    for bad in (b"", body, text, whole + b"\n", whole + b"x", whole[:-1], b"\0" * 100, whole.replace(b"RU", b"RX")):
        with pytest.raises((Malformed, BadSignature)):
            read_head(bad).check(key.public)


def test_a_signature_of_the_old_kind_is_not_taken() -> None:
    key = SecretKey(b"k" * 32)
    body = HEAD.line + b"\n"
    own = base64.b64encode(b"Ed" + key.public.id + key.signed(body)).decode()
    text = key.signature(digest_of(body), HEAD.comment).split("\n")
    with pytest.raises(BadSignature, match="old kind"):
        Signature.of_text("\n".join([text[0], own, *text[2:]]).encode())


def test_a_secret_key_is_read_again_and_never_shown() -> None:
    key = SecretKey(b"k" * 32)
    assert SecretKey.of_text(key.text).public == key.public
    assert b"k" * 32 not in repr(key).encode() and "6b6b" not in repr(key)
    for bad in ("", "x\ny\n", key.text[:-5], key.text.replace("RWQAA", "RWRTY")):
        with pytest.raises(ValueError):
            SecretKey.of_text(bad)


def test_uuids_are_of_version_7_and_sort_by_time() -> None:
    made = [uuid7(at, b"\xff" * 10) for at in (0, AT, AT + 1)]
    assert made == sorted(made)
    assert all(read_change(line_of(replace(ENTRY, id=each))) for each in made)
    assert isinstance(read_change(line_of(Retraction("", "ab" * 32, made[0], "pdq", link_of(LINE), 8, AT))), Retraction)


@pytest.fixture
@needs.needs("minisign")
def minisign() -> str:
    needs.started("minisign")
    found = debian.path_of("minisign")
    assert found is not None
    return found


def test_minisign_believes_what_is_signed_here_and_the_other_way_round(minisign: str, tmp_path: Path) -> None:
    key = SecretKey(b"k" * 32)
    text, body = split(signed_head(HEAD, key))
    (tmp_path / "it").write_bytes(body)
    (tmp_path / "it.minisig").write_bytes(text)
    (tmp_path / "key").write_text(key.text)

    def ran(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [minisign, *arguments], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        )
        return done.returncode, done.stdout

    code, said = ran("-V", "-m", "it", "-P", key.public.text)
    assert code == 0 and f"Trusted comment: {HEAD.comment}" in said
    assert ran("-V", "-m", "key", "-x", "it.minisig", "-P", key.public.text)[0] != 0
    assert ran("-S", "-s", "key", "-m", "it", "-x", "theirs", "-t", "said by minisign")[0] == 0
    theirs = Signature.of_text((tmp_path / "theirs").read_bytes())
    theirs.check(key.public, digest_of(body))
    assert theirs.comment == "said by minisign"
    assert ran("-G", "-W", "-s", "made", "-p", "public")[0] == 0
    made = SecretKey.of_text((tmp_path / "made").read_text())
    assert made.public.text in (tmp_path / "public").read_text()
    assert made.public.number in (tmp_path / "public").read_text()
