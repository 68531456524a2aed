"""I1: a view is the one way a pixel leaves the process: made in one place, in memory, on record before its first byte.

`tests/adapters/review/test_looking.py` asks the pages; `tests/integration/test_no_look.py` asks a browser and its disk.
"""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedi_safety
from fedi_safety.core.types import Frame
from fedi_safety.media.thumbnail import thumbnail
from support.corpus.photos import jpeg_bytes, picture

SOURCE = Path(fedi_safety.__file__).parent
# Within the decoder's confined child formats are taken apart and put together; nothing of that leaves the machine. The
# predecessor's network was trained on JPEGs, so that one makes one in memory and reads it back. The test card is this
# program's own drawing.
KNOWN = {"media/thumbnail.py", "core/testcard.py", "detectors/embedded/open_nsfw.py"}
_ENCODES = {"save", "imencode", "imwrite", "encode_jpeg", "encode_png", "jpeg_encode", "png_encode", "webp_encode"}
_IMAGING = {"PIL", "imagecodecs", "cv2", "av", "pillow_heif", "pillow_jxl"}

# Makes a view, and reports everything that Python was asked to open for writing or to connect to.
WATCHED = """
import json, os, sys
seen = []
def hook(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append(str(args[0]))
    elif event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        seen.append(str(args))
sys.addaudithook(hook)
from fedi_safety.app.ledger import open_settings_ledger
from fedi_safety.app.viewing import still
from fedi_safety.config.schema import Settings
settings = Settings.model_validate({"store": sys.argv[1], "ledger": sys.argv[2]})
ledger = open_settings_ledger(settings, readonly=True)
made = still(settings, ledger, bytes.fromhex(sys.argv[3]), 64)
ledger.dispose()
print(json.dumps({"seen": seen, "png": made.picture.png.hex(), "whole": made.whole}))
"""


def test_a_view_is_small_and_has_lost_what_it_was() -> None:
    photo = picture("astronaut", 512)
    frame = Frame(0, *photo.size, photo.tobytes())
    grey = np.asarray(photo.convert("L").resize((64, 64)), np.float64)
    for pixels in (32, 64, 256):
        made = thumbnail(frame, pixels)
        with Image.open(io.BytesIO(made.png)) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("PNG", "L", (made.width, made.height))
            assert max(image.size) == pixels and not image.info
            blurred = np.asarray(image.resize((64, 64)), np.float64)
        assert abs(blurred.mean() - grey.mean()) < 3, "it is of that picture"
        sharp = np.asarray(photo.convert("L").resize((made.width, made.height)), np.float64)
        with Image.open(io.BytesIO(made.png)) as image:
            soft = np.asarray(image, np.float64)
        assert np.abs(np.diff(soft)).mean() < 0.75 * np.abs(np.diff(sharp)).mean(), "and blurred"


def test_nothing_is_enlarged_and_a_line_stays_one() -> None:
    for size in ((3, 2), (1, 1), (900, 1), (1, 900), (257, 255)):
        made = thumbnail(
            Frame(0, *size, bytes(range(256)) * (size[0] * size[1] * 3 // 256) + bytes(size[0] * size[1] * 3 % 256)),
            256,
        )
        assert (made.width, made.height) == tuple(max(1, round(side * min(1, 256 / max(size)))) for side in size)
    with pytest.raises(ValueError, match="at least one pixel"):
        thumbnail(Frame(0, 1, 1, bytes(3)), 0)


def test_no_other_place_makes_a_file_of_pixels() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith("media/decoder/"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        imaging = {
            (name.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        } & _IMAGING
        calls = {
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        marks = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, bytes)
        }
        if (imaging and calls & _ENCODES) or marks & {b"IHDR", b"IDAT"}:
            found.add(place)
    assert found == KNOWN


def test_making_a_view_writes_nothing_and_speaks_to_nobody(tmp_path: Path) -> None:
    from fedi_safety.core.enums import Verdict
    from support.reviewing import reviewing

    with reviewing(tmp_path, {"ada": ["looker"]}) as here:
        sha256 = here.put("one.jpg", Verdict.REVIEW, data=jpeg_bytes("astronaut"))
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, str(here.folder), str(tmp_path / "ledger.db"), sha256.hex()],
            capture_output=True, text=True, check=False,
            env={**os.environ, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert bytes.fromhex(said["png"]).startswith(b"\x89PNG") and said["whole"] is True
        assert [path for path in said["seen"] if path != "/dev/null" and not path.isdigit()] == []
        assert list(scratch.iterdir()) == []
