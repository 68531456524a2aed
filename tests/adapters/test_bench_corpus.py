"""The benchmarks' corpus: the same bytes every time, each file a content of its own, all of it readable."""

from __future__ import annotations

import sys
from collections import Counter
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2]))
from bench import corpus


def digests(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p.read_bytes()).digest() for p in files}


def test_of_a_hundred_files_ninety_are_jpegs() -> None:
    assert Counter(map(corpus.kind_of, range(100))) == {"jpeg": 90, "screenshot": 5, "webp": 3, "large": 2}
    assert {corpus.kind_of(number) for number in range(30)} == {"jpeg", "screenshot", "webp", "large"}


def test_a_file_is_the_same_whenever_it_is_made() -> None:
    assert corpus.make_file(7) == corpus.make_file(7)
    assert corpus.make_file(7)[1] != corpus.make_file(8)[1]


@pytest.mark.parametrize("kind", ["jpeg", "screenshot", "webp"])
def test_files_are_pictures_of_about_the_stated_size(kind: str) -> None:
    number = next(n for n in range(100) if corpus.kind_of(n) == kind)
    key, data = corpus.make_file(number)
    with Image.open(BytesIO(data)) as image:
        image.load()
        assert image.format == {"jpeg": "JPEG", "screenshot": "PNG", "webp": "WEBP"}[kind]
        assert 0.5e6 < image.width * image.height < 3e6
    if kind == "jpeg":
        assert 60_000 < len(data) < 500_000
    assert key.endswith({"jpeg": ".jpg", "screenshot": ".png", "webp": ".webp"}[kind])


def test_a_comment_changes_the_content_and_not_the_picture() -> None:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    plain, other = buffer.getvalue(), corpus.commented(buffer.getvalue(), b"12")
    assert plain != other
    with Image.open(BytesIO(plain)) as one, Image.open(BytesIO(other)) as two:
        assert one.tobytes() == two.tobytes()


def test_tiny_files_have_the_asked_mix(tmp_path: Path) -> None:
    found = digests(corpus.tiny_corpus(tmp_path, 400, pictures=0.5, copies=0.3))
    assert Counter(Path(key).suffix for key in found) == {".jpg": 320, ".csv": 80}
    assert len({digest for key, digest in found.items() if key.endswith(".jpg")}) == 200


def test_tiny_pictures_are_contents_of_their_own(tmp_path: Path) -> None:
    found = digests(corpus.tiny_corpus(tmp_path, 1500))
    assert len(found) == len(set(found.values())) == 1500
    assert {key.split("/")[0] for key in found} == {"0000", "0001"}


def test_a_folder_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    folder = corpus.tiny_corpus(tmp_path, 30)
    whole = digests(folder)
    (folder / "0000" / "media-0000003.jpg").unlink()
    assert corpus.tiny_corpus(tmp_path, 30) == folder
    assert len(digests(folder)) == 29  # finished before: believed as it is
    folder.with_name(folder.name + ".json").unlink()  # as if it had been interrupted
    assert digests(corpus.tiny_corpus(tmp_path, 30)) == whole
