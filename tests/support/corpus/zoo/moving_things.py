"""Animations and clips that show the subject in one known frame, in whatever can be written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from fedi_safety.core.enums import MediaType
from support.corpus import moving
from support.corpus.media_zoo import saved
from support.corpus.zoo.stills import register
from support.corpus.zoo.subject import GREY, SIZE, Item, cut_out, ground, subject

LENGTHS = (1, 2, 3, 8, 16, 24, 40)  # frames
BUDGET = 16  # `--frames`, as it is preset
X264 = {"preset": "ultrafast", "g": "6", "bf": "2", "threads": "1"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=6:log-level=none:pools=none:frame-threads=1"}
AV1 = {"preset": "12", "svtav1-params": "keyint=6"}
VPX = {"deadline": "realtime", "g": "6"}
KINDS = {
    "mp4": MediaType.MP4,
    "mov": MediaType.QUICKTIME,
    "matroska": MediaType.MATROSKA,
    "webm": MediaType.WEBM,
    "ogg": MediaType.OGG,
    "avi": MediaType.AVI,
}
ANIMATED = (
    ("GIF", "GIF", MediaType.GIF),
    ("PNG", "APNG", MediaType.PNG),
    ("WEBP", "WebP", MediaType.WEBP),
    ("AVIF", "AVIF", MediaType.AVIF),
    ("JXL", "JXL", MediaType.JXL),
)
CODINGS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("mp4", "H.264", "libx264", {"options": X264}),
    ("mp4", "H.264, every frame whole", "libx264", {"options": X264 | {"g": "1"}}),
    ("mp4", "H.264, 4:4:4", "libx264", {"options": X264, "pixels": "yuv444p"}),
    ("mp4", "H.264, 10 bits", "libx264", {"options": X264, "pixels": "yuv420p10le"}),
    ("mp4", "H.264, fragments", "libx264", {"options": X264, "container_options": {"movflags": "frag_keyframe"}}),
    ("mp4", "H.264, table first", "libx264", {"options": X264, "container_options": {"movflags": "faststart"}}),
    ("mp4", "H.265", "libx265", {"options": X265}),
    ("mp4", "H.265, 10 bits", "libx265", {"options": X265, "pixels": "yuv420p10le"}),
    ("mp4", "AV1", "libsvtav1", {"options": AV1}),
    ("mp4", "VP9", "libvpx-vp9", {"options": VPX}),
    ("mp4", "MPEG-4", "mpeg4", {}),
    ("mp4", "MPEG-1", "mpeg1video", {}),
    ("mp4", "MPEG-2", "mpeg2video", {}),
    ("mov", "H.264", "libx264", {"options": X264}),
    ("mov", "H.265", "libx265", {"options": X265}),
    ("mov", "MPEG-4", "mpeg4", {}),
    ("mov", "ProRes", "prores_ks", {"pixels": "yuv422p10le"}),
    ("mov", "Motion JPEG", "mjpeg", {"pixels": "yuvj420p"}),
    ("mov", "PNG", "png", {"pixels": "rgb24"}),
    ("mov", "raw", "rawvideo", {"pixels": "rgb24"}),
    ("matroska", "H.264", "libx264", {"options": X264}),
    ("matroska", "H.265", "libx265", {"options": X265}),
    ("matroska", "VP8", "libvpx", {"options": VPX}),
    ("matroska", "AV1", "libsvtav1", {"options": AV1}),
    ("matroska", "FFV1", "ffv1", {}),
    ("matroska", "MPEG-2", "mpeg2video", {}),
    ("webm", "VP8", "libvpx", {"options": VPX}),
    ("webm", "VP9", "libvpx-vp9", {"options": VPX}),
    ("webm", "AV1", "libsvtav1", {"options": AV1}),
    ("ogg", "VP8", "libvpx", {"options": VPX}),
    ("avi", "H.264", "libx264", {"options": X264 | {"bf": "0"}}),
    ("avi", "MPEG-4", "mpeg4", {}),
    ("avi", "MS-MPEG-4 v2", "msmpeg4v2", {}),
    ("avi", "MS-MPEG-4 v3", "msmpeg4", {}),
    ("avi", "MPEG-1", "mpeg1video", {}),
    ("avi", "MPEG-2", "mpeg2video", {}),
    ("avi", "Windows Media 7", "wmv1", {}),
    ("avi", "Windows Media 8", "wmv2", {}),
    ("avi", "Sorenson", "flv", {}),
    ("avi", "Motion JPEG", "mjpeg", {"pixels": "yuvj420p"}),
    ("avi", "HuffYUV", "huffyuv", {"pixels": "rgb24"}),
    ("avi", "FFV1", "ffv1", {}),
    ("avi", "raw", "rawvideo", {}),
)
"""Container, coding as people call it, encoder, and what it needs. Nothing here encodes Theora, VC-1 or WMV 9."""
SIZED = (("mov", "DV", "dvvideo", (720, 576), "yuv420p"), ("avi", "H.263", "h263", (176, 144), "yuv420p"))


def film(count: int, at: int, size: tuple[int, int] = SIZE) -> list[Image.Image]:
    """Draw frames that all differ; the subject is in one of them."""
    return [(subject if number == at else ground)(number, size) for number in range(count)]


def places(count: int) -> list[int]:
    """Return where the subject is hidden: first, last, and in the middle."""
    return sorted({0, count // 2, count - 1})


def either(at: int, total: int) -> frozenset[int]:
    """Return the index of a frame, on white or on black."""
    return frozenset({at, at + total})


def animation(kind: str, images: Sequence[Image.Image]) -> bytes:
    """Encode whole frames."""
    if kind == "JXL":
        from imagecodecs import jpegxl_encode

        stack = np.stack([np.asarray(image) for image in images])
        return bytes(jpegxl_encode(stack if len(images) > 1 else stack[0], lossless=True, photometric="rgb"))
    options: dict[str, Any] = {"WEBP": {"quality": 90}, "AVIF": {"quality": 90, "speed": 10}}.get(kind, {})
    return saved(images[0], kind, save_all=True, append_images=images[1:], duration=100, **options)


def animations() -> Iterator[Item]:
    """Yield animations of whole frames, and of patches that are taken away again."""
    for kind, name, media_type in ANIMATED:
        for count in LENGTHS:
            for at in places(count):
                data = animation(kind, film(count, at))
                yield Item(
                    f"animated {name}", f"{name}, frame {at} of {count}", data, media_type,
                    either(at, count), budget=count <= BUDGET,
                )  # fmt: skip
    yield from _patches()


def _patches() -> Iterator[Item]:
    """Yield animations in which the subject is a patch, put on and taken off again."""
    back = moving.Piece(Image.new("RGBA", SIZE, (*GREY, 255)))
    after = moving.Piece(Image.new("RGBA", (12, 12), (30, 60, 90, 255)), 80, 48)
    for name, media_type, write, undo in (
        ("GIF", MediaType.GIF, moving.gif, 2),
        ("APNG", MediaType.PNG, moving.apng, 2),
        ("WebP", MediaType.WEBP, moving.webp, 1),
    ):
        shown = moving.Piece(cut_out(), dispose=undo)
        yield Item(
            f"animated {name}", f"{name}, a patch that is taken off", write([back, shown, after], SIZE), media_type,
            either(1, 3),
        )  # fmt: skip
    data = moving.apng([back, after], SIZE, default=subject())
    yield Item("animated APNG", "APNG, the picture that stands in for it", data, MediaType.PNG, frozenset({4}))


def clips() -> Iterator[Item]:
    """Yield a clip in every container and coding, with the subject in its first, middle or last frame."""
    for form, coding, encoder, options in CODINGS:
        # Of a single frame x265 now and then makes a stream that cannot be written.
        for count in (12, 16) if encoder == "libx265" else (1, 12, 16):
            for at in places(count):
                data = moving.clip(form, encoder, film(count, at), **options)
                yield _clip(form, f"{coding}, frame {at} of {count}", data, either(at, count))
    for form, coding, encoder, size, pixels in SIZED:
        data = moving.clip(form, encoder, film(3, 1, size), pixels=pixels)
        yield _clip(form, coding, data, either(1, 3))
    for form, encoder, options in (("mp4", "libx264", X264), ("webm", "libvpx", VPX), ("avi", "mpeg4", {})):
        for at in range(0, 40, 5):
            data = moving.clip(form, encoder, film(40, at), options=options)
            yield _clip(form, f"{encoder}, frame {at} of 40", data, either(at, 40), budget=False)


def _clip(
    form: str, name: str, data: bytes, frames: frozenset[int], *, budget: bool = True, damaged: bool = False
) -> Item:
    title = form.replace("matroska", "mkv")
    return Item(title, f"{form}, {name}", data, KINDS[form], frames, budget=budget, damaged=damaged)


def odd_clips() -> Iterator[Item]:
    """Yield clips that are turned, have several tracks, cover pictures, changing rates, or a broken index."""
    plain = film(6, 6)
    for form in ("mp4", "mov", "matroska"):
        for turn, image in (
            ((90.0, False, False), subject().transpose(Image.Transpose.ROTATE_270)),
            ((-90.0, False, False), subject().transpose(Image.Transpose.ROTATE_90)),
            ((180.0, False, False), subject().transpose(Image.Transpose.ROTATE_180)),
            ((0.0, True, False), subject().transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
            ((0.0, False, True), subject().transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
        ):
            if form == "matroska" and any(turn[1:]):
                continue
            data = moving.clip(form, "libx264", [image], options=X264, turn=turn)
            yield _clip(form, f"turned {turn}", data, either(0, 1))
    for form, encoder, options in (
        ("mp4", "libx264", X264),
        ("mov", "libx264", X264),
        ("matroska", "libx264", X264),
        ("webm", "libvpx", VPX),
        ("avi", "mpeg4", {}),
    ):
        data = moving.clip(form, encoder, plain, options=options, second=film(8, 5))
        yield _clip(form, "in the second track", data, either(11, 14))
    cover = saved(subject(), "JPEG")
    for form in ("mp4", "matroska"):  # FFmpeg writes none into QuickTime
        data = moving.clip(form, "libx264", plain, options=X264, cover=cover)
        yield _clip(form, "cover picture", data, frozenset({12, 13}))
    data = moving.clip("matroska", "libx264", plain, options=X264, attached=("font/ttf", saved(subject(), "PNG")))
    yield _clip("matroska", "attached, called a font", data, frozenset({12, 13}))
    times = [0, 40, 45, 400, 2000, 2001, 9000, 9500, 9501, 60_000]
    for form, encoder, options in (("mp4", "libx264", X264), ("matroska", "libx264", X264), ("webm", "libvpx", VPX)):
        data = moving.clip(form, encoder, film(10, 5), options=options, times=times)
        yield _clip(form, "changing rate", data, either(5, 10))
    clear = [cut_out() if number == 2 else Image.new("RGBA", SIZE) for number in range(4)]
    data = moving.clip("webm", "libvpx-vp9", clear, options=VPX | {"auto-alt-ref": "0"}, pixels="yuva420p")
    yield _clip("webm", "VP9, transparent", data, either(2, 4))
    for form, encoder, options, old, new in (
        ("mp4", "libx264", X264, b"stss", b"free"),
        ("avi", "mpeg4", {}, b"idx1", b"JUNK"),
        ("webm", "libvpx", VPX, b"\x1c\x53\xbb\x6b", b"\xec\x53\xbb\x6b"),
        ("matroska", "libx264", X264, b"\x1c\x53\xbb\x6b", b"\xec\x53\xbb\x6b"),
    ):
        data = moving.clip(form, encoder, film(12, 7), options=options)
        assert old in data
        yield _clip(form, "broken index", data.replace(old, new), either(7, 12))


def damaged() -> Iterator[Item]:
    """Yield files that are cut or garbled: what is left is judged in part, or there is a reason."""
    wholes: list[tuple[str, MediaType, bytes, int]] = []
    for form, encoder, options in (
        ("mp4", "libx264", {"options": X264}),
        ("mp4", "libx264", {"options": X264, "container_options": {"movflags": "faststart"}}),
        ("mov", "mjpeg", {"pixels": "yuvj420p"}),
        ("matroska", "libx264", {"options": X264}),
        ("webm", "libvpx", {"options": VPX}),
        ("ogg", "libvpx", {"options": VPX}),
        ("avi", "mpeg4", {}),
    ):
        wholes.append(
            (form.replace("matroska", "mkv"), KINDS[form], moving.clip(form, encoder, film(12, 2), **options), 12)
        )
    wholes += [
        (f"animated {name}", media_type, animation(kind, film(12, 2)), 12) for kind, name, media_type in ANIMATED
    ]
    register()
    stills = {
        "JPEG": saved(subject(), "JPEG"), "PNG": saved(subject(), "PNG"), "GIF": saved(subject(), "GIF"),
        "WebP": saved(subject(), "WEBP"), "TIFF": saved(subject(), "TIFF"), "BMP": saved(subject(), "BMP"),
        "AVIF": saved(subject(), "AVIF", speed=10), "HEIC": saved(subject(), "HEIF"),
        "JXL": saved(subject(), "JXL", effort=3),
    }  # fmt: skip
    for form, data in stills.items():
        wholes.append((form, MediaType(f"image/{form.lower()}"), data, 1))
    for form, media_type, data, count in wholes:
        for percent in (10, 40, 70, 95):
            cut = data[: len(data) * percent // 100]
            yield Item(
                form, f"{form}, cut at {percent} %", cut, media_type, either(2 * (count > 1), count), damaged=True
            )
    for form, media_type, data, count in wholes:
        # Lossy codecs conceal what is wrong inside a picture: a viewer shows what comes of it, and that is judged.
        if not media_type.is_clip and form not in ("WebP", "AVIF", "HEIC", "animated WebP", "animated AVIF"):
            middle = len(data) // 2
            garbled = data[:middle] + bytes(range(64)) + data[middle + 64 :]
            yield Item(form, f"{form}, garbled", garbled, media_type, either(2 * (count > 1), count), damaged=True)
