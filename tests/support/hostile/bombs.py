"""Bombs: small files that ask for a lot of memory or time, and what may become of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from support.hostile import bomb_files


@dataclass(frozen=True)
class Bomb:
    """One bomb, and for which reasons it may be unscanned or judged in part."""

    name: str
    media_type: MediaType
    make: Callable[[], bytes]
    reasons: frozenset[Reason]
    judged: bool = False  # whether a verdict on all or part of it is as good an answer
    seconds: float = 2.0  # of processor time that it may cost

    def __str__(self) -> str:
        return self.name


_LARGE = frozenset({Reason.TOO_LARGE})
_BROKEN = frozenset({Reason.CORRUPT, Reason.TRUNCATED, Reason.UNSUPPORTED, Reason.TOO_LARGE, Reason.EMPTY})
_NEVER = frozenset[Reason]()  # it shows all that it has, like any other
_M = MediaType
BOMBS = (
    Bomb("png 65,535 x 65,535", _M.PNG, bomb_files.png_65535, _LARGE),
    Bomb("png of 100 megapixels", _M.PNG, bomb_files.png_at_the_cap, _LARGE, judged=True),
    Bomb(
        "png of 800 MB, interlaced",
        _M.PNG,
        bomb_files.png_rgba16_interlaced_at_the_cap,
        _LARGE,
        judged=True,
        seconds=4.0,
    ),
    Bomb("png with 4 GiB of pixels", _M.PNG, bomb_files.png_4_gib, _NEVER, judged=True),
    *(
        Bomb(
            f"png with 4 GiB of {kind.decode()} {'before' if before else 'after'}",
            _M.PNG,
            partial(bomb_files.png_text, kind, before),
            _NEVER,
            judged=True,
        )
        for kind in (b"zTXt", b"iTXt", b"iCCP")
        for before in (True, False)
    ),
    Bomb("png with many texts", _M.PNG, bomb_files.png_many_texts, _NEVER, judged=True),
    Bomb("png with a million chunks", _M.PNG, bomb_files.png_many_chunks, _LARGE, judged=True),
    Bomb("gif of a million frames", _M.GIF, partial(bomb_files.gif, 16, 16, 1_000_000), _LARGE, judged=True),
    Bomb(
        "gif of a million frames that are undone",
        _M.GIF,
        partial(bomb_files.gif, 9990, 9990, 1_000_000, flags=3 << 2),
        _LARGE,
        judged=True,
    ),
    Bomb(
        "gif of a million clear frames",
        _M.GIF,
        partial(bomb_files.gif, 9990, 9990, 1_000_000, flags=1 | 2 << 2),
        _LARGE,
        judged=True,
    ),
    Bomb("gif 65,535 x 65,535", _M.GIF, partial(bomb_files.gif, 65535, 65535, 20), _LARGE),
    Bomb("gif of large frames", _M.GIF, bomb_files.gif_large_frames, _LARGE, judged=True),
    Bomb("apng 65,535 x 65,535", _M.PNG, partial(bomb_files.apng, 65535, 65535, 20), _LARGE),
    Bomb(
        "apng of 100 megapixels with tiny patches",
        _M.PNG,
        partial(bomb_files.apng, 9990, 9990, 19_000),
        _LARGE,
        judged=True,
    ),
    Bomb(
        "apng of 100 megapixels, each frame",
        _M.PNG,
        partial(bomb_files.apng, 9990, 9990, 60, (9990, 9990), 0),
        _LARGE,
        judged=True,
        seconds=3.0,
    ),
    Bomb("webp 16,383 x 16,383", _M.WEBP, partial(bomb_files.webp_animation, 16383, 16383, 20), _LARGE),
    Bomb(
        "webp of 100 megapixels with tiny patches",
        _M.WEBP,
        partial(bomb_files.webp_animation, 9990, 9990, 100_000),
        _LARGE,
        judged=True,
    ),
    Bomb(
        "webp of large frames",
        _M.WEBP,
        lambda: bomb_files.webp_animation(9990, 9990, 60, Image.new("RGBA", (9990, 9990), (1, 2, 3, 4))),
        _LARGE,
        judged=True,
    ),
    Bomb("webp still of 80 megapixels", _M.WEBP, partial(bomb_files.webp_still, 9000), _LARGE, judged=True),
    Bomb("avif grid 65,535 x 65,535", _M.AVIF, partial(bomb_files.avif_grid, 4, 4, 65535), _LARGE),
    Bomb("avif grid of 62,500 tiles", _M.AVIF, partial(bomb_files.avif_grid, 250, 250, 9990), _LARGE, judged=True),
    Bomb(
        "heic grid of 62,500 tiles",
        _M.HEIC,
        partial(bomb_files.avif_grid, 250, 250, 9990, brand=b"heic", coding=b"hvc1"),
        _BROKEN,
        judged=True,
    ),
    Bomb(
        "heic grid 65,535 x 65,535",
        _M.HEIC,
        partial(bomb_files.avif_grid, 4, 4, 65535, brand=b"heic", coding=b"hvc1"),
        _BROKEN,
        judged=True,  # a tile, where the library gives it as a picture of its own
    ),
    Bomb("jpeg 65,500 x 65,500", _M.JPEG, bomb_files.jpeg_huge, _LARGE),
    Bomb("jpeg of many scans", _M.JPEG, bomb_files.jpeg_scans, _LARGE),
    Bomb("tiff of 600,000 directories", _M.TIFF, bomb_files.tiff_many_directories, _LARGE, judged=True),
    Bomb("tiff that leads back to its beginning", _M.TIFF, bomb_files.tiff_loop, _BROKEN, judged=True),
    Bomb(
        "tiff with a strip of 100 MB, deflated",
        _M.TIFF,
        lambda: bomb_files.tiff_strips(8, bomb_files.zeros(9990 * 9990)),
        _BROKEN,
        judged=True,
    ),
    Bomb(
        "tiff with a strip of 4 GiB, deflated",
        _M.TIFF,
        lambda: bomb_files.tiff_strips(8, bomb_files.zeros_4_gib(), 100, 100),
        _BROKEN,
        judged=True,
    ),
    Bomb("tiff with a raw strip that is not there", _M.TIFF, lambda: bomb_files.tiff_strips(1, b"x"), _BROKEN),
    Bomb("tiff of 99 million strips", _M.TIFF, bomb_files.tiff_many_strips, _BROKEN),
    Bomb("bmp of runs", _M.BMP, bomb_files.bmp_rle, _BROKEN, judged=True),
    Bomb("bmp 65,535 x 65,535", _M.BMP, bomb_files.bmp_plain, _LARGE),
    Bomb("jxl of 2^60 pixels", _M.JXL, bomb_files.jxl_huge, _LARGE),
    Bomb("jxl of 81 megapixels", _M.JXL, bomb_files.jxl_at_the_cap, _LARGE, judged=True),
    Bomb("mp4 of ten hours", _M.MP4, partial(bomb_files.ten_hours, "mp4", "libx264", (320, 192)), _NEVER, judged=True),
    Bomb(
        "webm of ten hours", _M.WEBM, partial(bomb_files.ten_hours, "webm", "libvpx", (320, 192)), _NEVER, judged=True
    ),
    *(
        Bomb(f"mp4 of a billion in {kind.decode()}", _M.MP4, partial(bomb_files.mp4_many, kind), _BROKEN, judged=True)
        for kind in (b"stsz", b"stts", b"stco", b"stsc")
    ),
    Bomb("mp4 of boxes in boxes", _M.MP4, bomb_files.mp4_deep, _BROKEN),
    Bomb("mp4 of two million boxes", _M.MP4, bomb_files.mp4_wide, _BROKEN, judged=True),
    *(
        Bomb(f"matroska with a huge {name}", _M.MATROSKA, partial(bomb_files.mkv_huge, kind), _BROKEN)
        for name, kind in (
            ("track list", b"\x16\x54\xae\x6b"),
            ("cluster", b"\x1f\x43\xb6\x75"),
            ("void", b"\xec"),
            ("attachment", b"\x19\x41\xa4\x69"),
        )
    ),
    Bomb("matroska of tags in tags", _M.MATROSKA, bomb_files.mkv_deep, _BROKEN),
    Bomb("matroska with a bomb attached", _M.MATROSKA, bomb_files.clip_of_bombs, _LARGE, judged=True),
    Bomb(
        "matroska in matroska, twenty times",
        _M.MATROSKA,
        partial(bomb_files.clip_in_clip, 20),
        frozenset({Reason.UNSUPPORTED}),
        judged=True,
    ),
    Bomb("matroska of 134 megapixels", _M.MATROSKA, bomb_files.clip_huge, _LARGE),
)
