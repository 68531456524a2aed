"""Files that are more than they seem: a red circle inside or behind a harmless picture or clip, drawn by code."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pillow_heif
import pillow_jxl  # noqa: F401 - it registers itself
from PIL import Image, ImageDraw

from fedi_safety.core.enums import MediaType
from fedi_safety.core.frames.places import Part
from support.corpus import moving, paged
from support.corpus.media_zoo import chunk, saved

SIZE = (240, 180)
RED = (212, 36, 40)

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class Compound:
    """One file: what it looks like, and what the frame with the red circle says of its place."""

    name: str
    data: bytes
    media_type: MediaType
    part: Part


def ordinary(size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw what the file seems to be: a hilly landscape without anything red."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(image)
    width, height = size
    pen.ellipse((-width // 4, height // 2, width * 3 // 4, height * 3 // 2), fill=(40, 120, 60))
    pen.ellipse((width // 2, height * 5 // 8, width * 5 // 4, height * 3 // 2), fill=(70, 140, 50))
    pen.rectangle((width // 8, height // 8, width // 4, height // 4), fill=(60, 90, 200))
    return image


def subject(size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw the subject: a red circle on white."""
    image = Image.new("RGB", size, (244, 244, 242))
    x, y, radius = size[0] // 2, size[1] // 2, min(size) * 2 // 5
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=RED)
    return image


def has_subject(image: Image.Image) -> bool:
    """Whether the middle is red and the corners are not."""
    small = image.resize((9, 9), Image.Resampling.BOX)
    middle, corner = small.getpixel((4, 4)), small.getpixel((0, 0))
    assert isinstance(middle, tuple)
    assert isinstance(corner, tuple)
    return middle[0] > 150 > 90 > max(middle[1:]) and min(corner) > 200


# --- writers of what no library writes


def segment(marker: int, body: bytes) -> bytes:
    """Return one JPEG segment."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Return a JPEG with a segment right after its beginning."""
    return jpeg[:2] + segment(marker, body) + jpeg[2:]


def exif_with_thumbnail(thumbnail: bytes) -> bytes:
    """Return EXIF without anything but a JPEG thumbnail in its second directory."""
    first = struct.pack("<HI", 0, 14)
    at = 14 + 2 + 3 * 12 + 4
    entries = ((0x103, 3, 6), (0x201, 4, at), (0x202, 4, len(thumbnail)))
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0\x08\0\0\0" + first + second + struct.pack("<I", 0) + thumbnail


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a PNG with a chunk right after its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def with_riff_chunk(webp: bytes, kind: bytes, body: bytes) -> bytes:
    """Return an extended WebP with a chunk at its end."""
    inner = webp[8:]
    if inner[4:8] != b"VP8X":
        head = struct.pack("<BxxxHBHB", 0x08 if kind == b"EXIF" else 0, SIZE[0] - 1, 0, SIZE[1] - 1, 0)
        inner = b"WEBPVP8X" + struct.pack("<I", len(head)) + head + inner[4:]
    inner += kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def box(kind: bytes, body: bytes) -> bytes:
    """Return one box of the ISO family."""
    return struct.pack(">I", len(body) + 8) + kind + body


@cache
def clip_of(form: str = "mp4", *, hidden: bool = True) -> bytes:
    """Return a clip of eight frames of the subject, or of the ordinary picture."""
    picture = subject() if hidden else ordinary()
    options = {"preset": "ultrafast"} if form == "mp4" else {"deadline": "realtime"}
    return moving.clip(form, "libx264" if form == "mp4" else "libvpx", [picture] * 8, options=options)


def zipped(data: bytes) -> bytes:
    """Return a ZIP that holds a picture uncompressed."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("picture.jpg", data)
    return target.getvalue()


def nested(depth: int) -> bytes:
    """Return a JPEG within a JPEG's comment, and so on; the innermost is the subject."""
    data = saved(subject((48, 48)), "JPEG")
    for level in range(depth):
        data = with_segment(saved(Image.new("RGB", (32, 32), (255 * (level % 2), 25 * level, 200)), "JPEG"), 0xFE, data)
    return data


def hiding() -> Iterator[Compound]:
    """Yield every place that something is hidden in."""
    jpeg, png = saved(ordinary(), "JPEG", quality=90), saved(ordinary(), "PNG")
    gif, webp = saved(ordinary(), "GIF"), saved(ordinary(), "WEBP")
    red, small = saved(subject(), "JPEG"), saved(subject((160, 120)), "JPEG")
    heic, avif = saved(ordinary(), "HEIF"), saved(ordinary(), "AVIF")
    mp4, webm, red_mp4 = clip_of(hidden=False), clip_of("webm", hidden=False), clip_of()
    samsung = b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + red_mp4 + b"SEFHk\0\0\0\1\0\0\0\0\0SEFT"

    def on(media_type: MediaType, name: str, data: bytes, part: Part = Part.FURTHER) -> Compound:
        return Compound(name, data, media_type, part)

    thumbnail, further_clip = Part.THUMBNAIL, Part.FURTHER_CLIP
    exif = exif_with_thumbnail(small)
    yield on(MediaType.JPEG, "jpeg-exif-thumbnail", with_segment(jpeg, 0xE1, b"Exif\0\0" + exif), thumbnail)
    yield on(MediaType.JPEG, "jpeg-jfxx", with_segment(jpeg, 0xE0, b"JFXX\0\x10" + small), thumbnail)
    resource = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 28 + len(small)) + bytes(28) + small
    yield on(MediaType.JPEG, "jpeg-photoshop", with_segment(jpeg, 0xED, b"Photoshop 3.0\0" + resource), thumbnail)
    yield on(MediaType.JPEG, "jpeg-comment", with_segment(jpeg, 0xFE, small))
    yield on(MediaType.JPEG, "jpeg-unknown-segment", with_segment(jpeg, 0xEB, small))
    yield on(MediaType.JPEG, "jpeg-mpf", _mpf(ordinary(), subject()))
    for name, behind in (
        ("jpeg", red),
        ("png", saved(subject(), "PNG")),
        ("gif", saved(subject(), "GIF")),
        ("webp", saved(subject(), "WEBP")),
        ("avif", saved(subject(), "AVIF")),
        ("heic", saved(subject(), "HEIF")),
        ("zip", zipped(red)),
        ("pdf", paged.pdf([subject()])),
    ):
        yield on(MediaType.JPEG, f"jpeg-before-{name}", jpeg + behind)
    yield on(MediaType.JPEG, "jpeg-before-junk-and-png", jpeg + b"junk" * 999 + saved(subject(), "PNG"))
    yield on(MediaType.JPEG, "jpeg-motion-photo", jpeg + red_mp4, further_clip)
    yield on(MediaType.JPEG, "jpeg-motion-photo-samsung", jpeg + samsung, further_clip)
    yield on(MediaType.JPEG, "jpeg-before-webm", jpeg + clip_of("webm"), further_clip)
    progressive = saved(ordinary(), "JPEG", progressive=True)
    first = progressive.index(b"\xff\xda")
    second = progressive.index(b"\xff\xda", first + 2)
    yield on(MediaType.JPEG, "jpeg-between-scans", progressive[:second] + segment(0xFE, small) + progressive[second:])
    yield on(MediaType.PNG, "png-before-jpeg", png + red)
    yield on(MediaType.PNG, "png-before-mp4", png + red_mp4, further_clip)
    yield on(MediaType.PNG, "png-private-chunk", with_chunk(png, b"prVt", red))
    yield on(MediaType.PNG, "png-exif-thumbnail", with_chunk(png, b"eXIf", exif), thumbnail)
    yield on(MediaType.GIF, "gif-before-jpeg", gif + red)
    yield on(MediaType.WEBP, "webp-unknown-chunk", with_riff_chunk(webp, b"wxyz", red))
    yield on(MediaType.WEBP, "webp-exif-thumbnail", with_riff_chunk(webp, b"EXIF", exif), thumbnail)
    yield on(MediaType.WEBP, "webp-before-png", webp + saved(subject(), "PNG"))
    yield on(MediaType.BMP, "bmp-before-jpeg", saved(ordinary(), "BMP") + red)
    yield on(MediaType.TIFF, "tiff-before-jpeg", saved(ordinary(), "TIFF") + red)
    yield on(MediaType.HEIC, "heic-mpvd", heic + box(b"mpvd", red_mp4), further_clip)
    yield on(MediaType.HEIC, "heic-exif-thumbnail", saved(ordinary(), "HEIF", exif=b"Exif\0\0" + exif))
    yield on(MediaType.AVIF, "avif-before-jpeg", avif + red)
    yield on(MediaType.JXL, "jxl-before-jpeg", saved(ordinary(), "JXL") + red)
    yield on(MediaType.MP4, "mp4-before-jpeg", mp4 + red)
    yield on(MediaType.MP4, "mp4-free-box", mp4 + box(b"free", red))
    yield on(MediaType.MP4, "mp4-uuid-box", mp4 + box(b"uuid", bytes(16) + red))
    yield on(MediaType.MP4, "mp4-before-webm", mp4 + clip_of("webm"), further_clip)
    yield on(MediaType.WEBM, "webm-before-jpeg", webm + red)


def _mpf(first: Image.Image, second: Image.Image) -> bytes:
    target = io.BytesIO()
    first.save(target, "MPO", save_all=True, append_images=[second])
    return target.getvalue()
