"""I9: the project carries no picture or clip at all: tests draw theirs or use harmless ones from packages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.media import sniff
from support.corpus.photos import jpeg_bytes

ROOT = Path(__file__).parent.parent.parent
PLOT = "docs/benchmark.svg"  # lines and words, drawn by code from figures


def is_media(data: bytes) -> bool:
    try:
        sniff(data[:4096])
    except Unscannable as error:
        return error.reason not in (Reason.NOT_MEDIA, Reason.EMPTY)
    return True


def test_no_tracked_file_is_media() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in listed if name]
    assert len(paths) > 50
    assert is_media(jpeg_bytes("coffee"))
    found = [path for path in paths if path.is_file() and is_media(path.read_bytes())]
    assert found in ([], [ROOT / PLOT])


def test_the_plot_of_figures_shows_no_picture() -> None:
    drawn = {element.tag.rpartition("}")[2] for element in ElementTree.parse(ROOT / PLOT).iter()}
    assert drawn <= {"svg", "title", "rect", "line", "circle", "text"}
