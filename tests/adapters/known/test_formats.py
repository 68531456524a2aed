"""Formats of lists: what each says is read as it is meant, what cannot be used is counted, what would burst is refused.

All hashes are random or of harmless bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from fedi_safety.core.errors import KnownUsageError
from fedi_safety.core.known.types import Effect, Entry, HashKind, KnownList
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.formats import FORMATS, Reading, read
from fedi_safety.known.formats.items import Source
from fedi_safety.known.formats.stream import pieces
from fedi_safety.known.formats.writing import WRITERS, Writing
from fedi_safety.known.records import FEWEST_BITS

RANDOM = random.Random(16)
PDQ = [RANDOM.randbytes(32) for _ in range(4)]
assert all(int.from_bytes(each).bit_count() >= FEWEST_BITS for each in PDQ)
SHA256 = [hashlib.sha256(bytes([i])).digest() for i in range(4)]
SHA1 = hashlib.sha1(b"x").digest()
MD5 = hashlib.md5(b"x").digest()
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
OPEN = KnownList("own", redistribute=True)


def written(folder: Path, text: str | bytes, name: str = "list") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def entries(path: Path, named: str | None = None, kind: HashKind | None = None) -> tuple[list[Entry], Reading]:
    reading = read(path, named, kind)
    return [item for item in reading if isinstance(item, Entry)], reading


def standing(path: Path) -> tuple[list[Entry], Reading, int]:
    """What of a file is on a list once it was read, in the file's order; and how much it takes back itself."""
    given, _ = entries(path)
    reading = read(path)
    with Catalog(path.parent / "known") as catalog:
        done = catalog.put(KnownList("x"), reading)
        there = list(catalog.entries("x"))
        catalog.drop("x")
    assert len(there) == done.accepted
    return [entry for entry in given if entry in there], reading, done.withdrawn


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(KnownUsageError) as caught:
        do()
    assert "\n" not in caught.value.line()
    assert caught.value.cause and caught.value.remedy
    return caught.value.line()


TEXT = f"""# a comment

pdq {PDQ[0].hex()}
video_md5 {MD5.hex()}
{SHA1.hex().upper()}
pdna 0011
{SHA256[0].hex()}  a cat.jpg
"""


@pytest.mark.parametrize(
    "text",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode("utf-16"),
        gzip.compress(TEXT[:90].encode()) + gzip.compress(TEXT[90:].encode()),
    ],
    ids=["plain", "bom", "crlf", "utf-16", "gzip"],
)
def test_text_is_read_however_it_was_saved(tmp_path: Path, text: bytes) -> None:
    found, reading = entries(written(tmp_path, text))
    assert reading.format.name == "text"
    assert [(entry.kind, entry.hash) for entry in found] == [
        (HashKind.PDQ, PDQ[0]),
        (HashKind.MD5, MD5),
        (HashKind.SHA1, SHA1),
        (HashKind.SHA256, SHA256[0]),
    ]
    assert reading.flaws == {"PhotoDNA hashes": 1}
    assert reading.first["PhotoDNA hashes"].place == "line 6"


def test_bare_digits_that_may_be_two_kinds_are_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, f"{PDQ[0].hex()}\n")
    assert "--kind pdq" in refusal(lambda: entries(path))
    assert entries(path, kind=HashKind.PDQ)[0] == [Entry(HashKind.PDQ, PDQ[0])]


def test_a_table_keeps_what_is_told_of_an_entry(tmp_path: Path) -> None:
    text = (
        "kind;hash;id;category;seen;expires;quality;positive;negative\n"
        f"pdq;{PDQ[0].hex()};7;A1;2026-01-02T00:00:00Z;1800000000;88;3;1\n"
        f'md5;{MD5.hex()};"two\nlines";;;;;;\n'
        f"pdq;{PDQ[0].hex()[:-1]};8;;;;;;\n"
        "whirlpool;00;9;;;;;;\n"
    )
    found, reading = entries(written(tmp_path, text))
    assert reading.format.name == "csv"
    assert found == [
        Entry(HashKind.PDQ, PDQ[0], "7", "A1", 1767312000.0, 1800000000.0, 88, 3, 1),
        Entry(HashKind.MD5, MD5, "two\\nlines"),
    ]
    assert reading.flaws == {"a wrong length": 1, "an unknown kind of hash": 1}
    assert reading.first["a wrong length"].place == "line 5"
    assert "63 characters" in reading.first["a wrong length"].detail


def test_a_table_with_a_column_for_each_kind_gives_all_of_a_row(tmp_path: Path) -> None:
    found, _ = entries(written(tmp_path, f"md5,sha1,photodna\n{MD5.hex()},{SHA1.hex()},00\n"))
    assert [entry.kind for entry in found] == [HashKind.MD5, HashKind.SHA1]


NCMEC = f"""<?xml version="1.0" encoding="UTF-8"?>
<queryResult xmlns="{NAMESPACE}"><images count="3" maxTimestamp="2026-01-03T00:00:00Z">
<image><member id="42">Example</member><timestamp>2026-01-02T00:00:00Z</timestamp><id>a</id>
<classification>A1</classification><fingerprints><md5>{MD5.hex()}</md5><pdna>a1...</pdna><pdq>{PDQ[0].hex()}</pdq>
</fingerprints><feedback><affirmativeFeedback type="Md5"><members><member id="1">x</member><member id="2">y</member>
</members></affirmativeFeedback><negativeFeedback type="Pdq"><reasons><reason name="r"/><members>
<member id="3">z</member></members></reasons></negativeFeedback></feedback></image>
<deletedImage><member id="42">Example</member><id>b</id><timestamp>2026-01-03T00:00:00Z</timestamp></deletedImage>
<image><member id="42">Example</member><timestamp>2026-01-02T00:00:00Z</timestamp><id>b</id>
<fingerprints><md5>{"0" * 32}</md5></fingerprints></image>
<image><member id="43">Other</member><timestamp>2026-01-02T00:00:00Z</timestamp><id>b</id>
<fingerprints><sha1>{SHA1.hex()}</sha1><tmk-pdqf href="/v2/x"/></fingerprints></image>
</images><paging><next>/v2/entries?a=1&amp;start=2001</next></paging></queryResult>"""


def test_ncmec_members_deletions_and_opinions_count(tmp_path: Path) -> None:
    found, reading, withdrawn = standing(written(tmp_path, NCMEC))
    assert reading.format.name == "ncmec"
    at = 1767312000.0
    assert found == [
        Entry(HashKind.MD5, MD5, "42-image-a", "A1", at, positive=2),
        Entry(HashKind.PDQ, PDQ[0], "42-image-a", "A1", at, negative=1),
        Entry(HashKind.SHA1, SHA1, "43-image-b", "", at),
    ]
    assert reading.flaws == {"PhotoDNA hashes": 1, "TMK hashes": 1}
    assert withdrawn == 1


def test_what_a_file_takes_back_does_not_stand_wherever_it_says_so(tmp_path: Path) -> None:
    def record(text: str, status: str, kind: str = "ImagePDQ") -> dict[str, object]:
        feedback = [{"feedbackValue": "Blocked"}, {"feedbackValue": "NotBlocked"}, {"feedbackValue": "Blocked"}]
        told = {"signalType": kind, "hashValue": text, "hashStatus": status, "CSPFeedbacks": feedback}
        return told | {"lastModtimestamp": 1767312000}

    rows = [
        record(PDQ[0].hex(), "Active"),
        record(PDQ[1].hex(), "Active"),
        record(PDQ[1].hex(), "Withdrawn"),
        record(PDQ[2].hex(), "Deleted"),
        record(PDQ[2].hex(), "Active"),
        record("t", "Active", "VideoTMK"),
        record(MD5.hex(), "Active", "VideoMD5"),
    ]
    path = written(tmp_path, json.dumps({"count": 7, "hasMoreRecords": False, "hashRecords": rows}))
    found, reading, withdrawn = standing(path)
    assert reading.format.name == "stopncii"
    assert [entry.hash for entry in found] == [PDQ[0], PDQ[2], MD5]
    assert (found[0].positive, found[0].negative, found[0].seen_s) == (2, 1, 1767312000.0)
    assert (withdrawn, reading.flaws) == (1, {"TMK hashes": 1})


def test_tat_and_vics_and_vpdq(tmp_path: Path) -> None:
    tat = [
        {"id": 1, "hash_digest": PDQ[0].hex(), "algorithm": "PDQ", "ideology": "x", "deleted": False},
        {"id": 2, "hash_digest": MD5.hex(), "algorithm": "MD5", "deleted": True, "updated_on": "2026-01-02"},
        {"id": 2, "hash_digest": MD5.hex(), "algorithm": "MD5", "deleted": False, "updated_on": "2026-01-01"},
    ]
    found, reading, _ = standing(written(tmp_path, json.dumps(tat)))
    assert (reading.format.name, found) == ("tat", [Entry(HashKind.PDQ, PDQ[0], "1", "x")])
    medium = {"MediaID": 5, "Category": 1, "MD5": MD5.hex().upper(), "SHA1": SHA1.hex().upper(), "PhotoDNA": "AA=="}
    vics = {"@odata.context": "http://x/2.0.xml/$metadata#Media", "value": [medium, {"MediaID": 6}]}
    found, reading = entries(written(tmp_path, json.dumps(vics, indent=1)))
    assert reading.format.name == "vics"
    assert found == [Entry(HashKind.MD5, MD5, "5", "1"), Entry(HashKind.SHA1, SHA1, "5", "1")]
    assert reading.flaws == {"PhotoDNA hashes": 1, "no hash": 1}
    frames = [f"{PDQ[0].hex()},100,0.0", f"{PDQ[1].hex()},40,1.0", "nonsense"]
    found, reading = entries(written(tmp_path, json.dumps(frames), "clip7.vpdq.json"))
    assert reading.format.name == "vpdq"
    assert found[1] == Entry(HashKind.PDQ, PDQ[1], "clip7@1.0", quality=40, clip="clip7")
    assert reading.flaws == {"no frame": 1}


def test_tables_of_servers(tmp_path: Path) -> None:
    bits = f"{int.from_bytes(PDQ[0], 'big'):0256b}"
    found, reading = entries(written(tmp_path, f"id,hash,file_name,note\n3,{bits},x.png,n\n"))
    assert (reading.format.name, found) == ("piefed", [Entry(HashKind.PDQ, PDQ[0], "3")])
    rows = f"1,{SHA256[0].hex()},,t\n2,,{'0' * 128},t\n3,{SHA256[1].hex()},,f\n"
    found, reading = entries(written(tmp_path, "id,sha256,sha512,active\n" + rows))
    assert (reading.format.name, found) == ("pixelfed", [Entry(HashKind.SHA256, SHA256[0], "1")])
    assert reading.flaws == {"SHA-512 hashes": 1, "switched off by the server": 1}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    pictures = [
        Entry(HashKind.PDQ, PDQ[0], "one", "A1", 1767312000.0, 1800000000.0, 90, 2, 1),
        Entry(HashKind.SHA256, SHA256[0], "two, and more"),
        Entry(HashKind.MD5, MD5),
    ]
    clips = [Entry(HashKind.PDQ, PDQ[i], f"c{i // 2}@{i}.0", quality=80, clip=f"c{i // 2}") for i in range(4)]
    dull = Entry(HashKind.PDQ, PDQ[3], quality=49)
    writing = Writing(OPEN, [*pictures, *clips, dull], name)
    path = written(tmp_path, "".join(writing))
    found, reading = entries(path)
    assert reading.format.name == name
    wanted: dict[str, list[Entry]] = {"csv": [*pictures, *clips], "vpdq": clips}
    if name in wanted:
        assert found == wanted[name]
    else:
        kinds = {"text": set(HashKind), "piefed": {HashKind.PDQ}, "pixelfed": {HashKind.SHA256}}[name]
        expected = [(each.kind, each.hash) for each in pictures if each.kind in kinds]
        assert [(each.kind, each.hash) for each in found] == expected
    assert not reading.flaws
    assert writing.written == len(found)
    assert writing.written + writing.left_out.total() == 8
    assert writing.left_out["quality below 50"] == 1


def test_one_clip_is_written_as_others_read_it() -> None:
    frames = [Entry(HashKind.PDQ, PDQ[i], f"c@{i}.0", quality=80, clip="c") for i in range(2)]
    assert json.loads("".join(Writing(OPEN, frames, "vpdq"))) == [
        f"{PDQ[0].hex()},80,0.0",
        f"{PDQ[1].hex()},80,1.0",
    ]


def test_what_may_not_be_passed_on_is_written_in_no_format() -> None:
    for name in WRITERS:
        assert "redistribute" in refusal(lambda name=name: Writing(KnownList("theirs"), [], name))  # type: ignore[misc]
    harmless = KnownList("own", Effect.NEGATIVE, redistribute=True)
    assert "harmless" in refusal(lambda: Writing(harmless, [], "piefed"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no UTF-8"),
        (b"just some words\n", "none of the formats"),
        (b'{"a": [1, 2]}', "no list of hashes"),
        (b'{"hashRecords": [{"signalType": "ImagePDQ"}, {"signalT', "record 2"),
        (b'{"hashRecords": [{}]} {}', "something stands after"),
        (b'{"hashRecords": ' + b"[" * 200_000, "record 1"),
        (b'[{"hash_digest": "00"},]', "comma"),
        (NCMEC[:700].encode(), "unclosed token"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (f'<queryResult xmlns="{NAMESPACE}">'.encode() + b"<a>" * 100, "in each other"),
        (b"<queryResult><images><image><id>" + b"a" * 200_000, "more than 65536 characters"),
        (b"<html></html>", "queryResult"),
        (b'kind,hash\nmd5,"unclosed\n' + b"x\n" * 80_000, "a row of more than 1000 lines"),
        (b"md5 " + b"0" * 200_000, "more than 65536 characters"),
        (gzip.compress(TEXT.encode())[:-9], "cut off"),
        (b"\x1f\x8b\x08" + b"\xff" * 100, "damaged gzip"),
    ],
)
def test_bad_files_are_one_line_with_place_cause_and_remedy(tmp_path: Path, text: bytes, said: str) -> None:
    path = written(tmp_path, text)
    line = refusal(lambda: list(read(path)))
    assert said in line
    assert str(path) in line


_OPINION = b'<negativeFeedback type="%d"><member/></negativeFeedback>'
_ONE = "<queryResult><images><image><id>a</id><fingerprints>"


@pytest.mark.parametrize(
    ("name", "head", "endless"),
    [
        ("text", b"", b"0"),
        ("csv", b"kind,hash\n", b'md5,"\n",' * 1_000),
        ("csv", b"kind,hash\nmd5,", b"0"),
        ("ncmec", _ONE.encode(), b"<md5>00</md5>" * 1_000),
        ("ncmec", b"<queryResult><images><image>", b"".join(b"<p%d/>" % i for i in range(5_000))),
        ("ncmec", _ONE.encode() + b"</fingerprints>", b"".join(_OPINION % i for i in range(5_000))),
        ("ncmec", b"<queryResult><images><image", b' a="0"'),
        ("ncmec", b"<queryResult><images><!-- ", b"0"),
        ("stopncii", b'{"hashRecords": [{"a": "', b"0"),
        ("stopncii", b'{"hashRecords": [{"CSPFeedbacks": [', b"{}, "),
        ("vics", b'{"value": [{', b'"MD5": "00", '),
        ("vpdq", b'["', b"0"),
        ("vpdq", b'{"', b"0"),
    ],
)  # fmt: skip
def test_no_record_of_any_format_is_held_that_does_not_end(
    tmp_path: Path, name: str, head: bytes, endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0

    def without_end(_path: Path) -> Iterator[bytes]:
        nonlocal given
        yield head
        while given < 64 << 20:
            piece = endless * (1 + (1 << 16) // len(endless))
            given += len(piece)
            yield piece

    monkeypatch.setattr("fedi_safety.known.formats.stream.pieces", without_end)
    monkeypatch.setattr("fedi_safety.known.formats.ncmec.pieces", without_end)
    assert "list" in refusal(lambda: list(FORMATS[name].read(Source(tmp_path / "list"))))
    assert given < 8 << 20


def test_a_gzip_file_made_to_burst_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(bytes(48 << 20)))
    given = 0

    def unpack() -> None:
        nonlocal given
        for piece in pieces(path):
            given += len(piece)

    assert "unpacks to more than 200 times its size" in refusal(unpack)
    assert given < 40 << 20


def test_places_that_are_no_file(tmp_path: Path) -> None:
    assert "directory" in refusal(lambda: list(read(tmp_path)))
    assert "no such file" in refusal(lambda: list(read(tmp_path / "nothing")))
    assert "no such format" in refusal(lambda: read(tmp_path, "sdhash"))
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe or a device" in refusal(lambda: list(read(tmp_path / "pipe")))


@pytest.mark.parametrize("seen", ["-99999999999", "99999999999", "-6e10", "0001-01-01", "9999-12-31", "nan", "-1e300"])
def test_whatever_time_is_read_can_be_written(tmp_path: Path, seen: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"kind,hash,seen,expires\nmd5,{32 * 'a'},{seen},{seen}\n")
    (entry,), _ = entries(path)
    assert "".join(Writing(KnownList("x", redistribute=True), [entry], "csv"))


@pytest.mark.parametrize("name", ["text", "csv", "ncmec", "stopncii", "vpdq"])
def test_entries_come_while_the_rest_is_unread(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = {"csv": "kind,hash\n", "ncmec": "<queryResult><images>", "stopncii": '{"hashRecords": [', "vpdq": "["}
    records = {
        "text": "md5 %032x\n",
        "csv": "md5,%032x\n",
        "ncmec": "<image><id>a</id><fingerprints><md5>%032x</md5></fingerprints></image>",
        "stopncii": '{"signalType": "VideoMD5", "hashValue": "%032x", "hashStatus": "Active"},',
        "vpdq": '"%064x,90,1.0",',
    }
    given = 0

    def endless(_path: Path) -> Iterator[bytes]:
        nonlocal given
        yield heads.get(name, "").encode()
        while True:
            given += 100
            assert given < 2_000
            yield "".join(records[name] % (given + i) for i in range(100)).encode()

    monkeypatch.setattr("fedi_safety.known.formats.stream.pieces", endless)
    monkeypatch.setattr("fedi_safety.known.formats.ncmec.pieces", endless)
    found = (item for item in FORMATS[name].read(Source(tmp_path / "list")) if isinstance(item, Entry))
    assert len(list(islice(found, 1_000))) == 1_000
