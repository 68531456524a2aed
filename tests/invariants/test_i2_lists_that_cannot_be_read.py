"""I2: lists of known images that cannot be read are never taken for lists that nothing is on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import md5, sha1, sha256
from pathlib import Path

import pytest

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import KnownError, Unscannable
from fedi_safety.core.known.types import Entry, HashKind, KnownList
from fedi_safety.core.types import Fingerprints
from fedi_safety.known import tables, upkeep
from fedi_safety.known.catalog import Catalog
from fedi_safety.known.images import Images
from support.known import entries, pdqs

MANY = pdqs(300)
PRINTS = Fingerprints(sha256(b"x").digest(), sha1(b"x").digest(), md5(b"x").digest(), 1)
FILES = ("low", "high", "runs", "offsets", "rows")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(upkeep, "LOOSE_ROWS", 20)
    with Catalog(tmp_path / "known") as catalog:
        catalog.put(KnownList("a"), [*entries(MANY), Entry(HashKind.MD5, PRINTS.md5)])
    return tmp_path / "known"


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def unanswered(images: Images) -> str:
    """Both ways of asking, where neither may say that there is no hit."""
    with pytest.raises(Unscannable) as caught:
        images.near(MANY[:1])
    assert caught.value.reason is Reason.DETECTOR_FAILED and caught.value.detail
    return caught.value.detail


@pytest.mark.sampled(5)
@pytest.mark.parametrize("damage", [one_bit, shorter, zeros, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_index_is_no_answer_until_it_is_repaired(
    folder: Path, file: str, damage: Callable[[Path], None]
) -> None:
    (segment,) = (folder / upkeep.FOLDER).iterdir()
    damage(segment / f"{file}.npy")
    with Catalog(folder) as catalog:
        images = catalog.images()
        assert segment.name in unanswered(images) and segment.name in unanswered(images)
        assert "repair" in unanswered(images)
        assert [error.thing for error in catalog.verify()] != []
        assert catalog.verify(repair=True) == () and catalog.verify() == ()
        assert all(len(hits) == 1 for hits in images.near(MANY)), "the reader sees that it was repaired"


def test_an_index_without_its_folder_is_no_answer(folder: Path) -> None:
    shutil.rmtree(folder / upkeep.FOLDER)
    with Catalog(folder) as catalog:
        unanswered(catalog.images())
        assert catalog.verify() != () and catalog.verify(repair=True) == ()
        assert catalog.images().near(MANY[:1])[0]


def test_rows_that_no_segment_has_are_found_out(folder: Path) -> None:
    """What verify is for beside checksums: the index and the tables tell of the same rows."""
    writer = tables.create(folder, wait_s=1)
    writer.execute("DELETE FROM entries WHERE row = 7")
    writer.close()
    with Catalog(folder) as catalog:
        assert ["does not have the rows" in error.line() for error in catalog.verify()] == [True]
        assert catalog.verify(repair=True) == ()


def test_lists_that_vanish_while_they_are_asked_are_no_answer(folder: Path) -> None:
    """Another disk was mounted over them, say. Lists that were never there are an empty answer."""
    images = Catalog(folder).images()
    assert images.near(MANY[:1])[0] and images.exact(PRINTS)
    folder.rename(folder.with_name("away"))
    assert "not there any more" in unanswered(images)
    with pytest.raises(Unscannable):
        images.exact(PRINTS)
    with pytest.raises(Unscannable):
        _ = images.digest
    folder.with_name("away").rename(folder)
    assert images.near(MANY[:1])[0] and images.exact(PRINTS)


@pytest.mark.parametrize("content", [b"no database " * 500, b"", None])
def test_tables_that_cannot_be_read_are_no_answer(folder: Path, content: bytes | None) -> None:
    images = Catalog(folder).images()
    assert images.exact(PRINTS)
    path = folder / tables.FILE
    for beside in folder.glob(tables.FILE + "-*"):
        beside.unlink()
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert tables.FILE in unanswered(images)
    with pytest.raises(Unscannable):
        images.exact(PRINTS)
    if content:
        with pytest.raises(KnownError) as caught:
            Catalog(folder).lists()
        assert "\n" not in caught.value.line() and caught.value.remedy
