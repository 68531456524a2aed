"""Clips (MP4, QuickTime, Matroska, WebM, Ogg, AVI) through PyAV: chosen frames of every track, and cover pictures.

Runs in the child only. The container is read once from front to back, without its index, so that a broken one hides
nothing; then the packets that the chosen frames need are decoded, and no others.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import av
from av.sidedata.sidedata import Type as SideData
from PIL import Image

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.places import Part, Place
from fedi_safety.media.caps import MAX_COMPARED, MAX_COVERS, MAX_MOMENTS, MAX_TRACKS
from fedi_safety.media.decoder.formats.images import decode_still
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter
from fedi_safety.media.decoder.frames.sampling import Moment, choose, seconds
from fedi_safety.media.decoder.frames.still import Still, finished, fit
from fedi_safety.media.decoder.guards import explained, refuse_bomb
from fedi_safety.media.decoder.structure.probe import is_cut
from fedi_safety.media.sniff import sniff

# The demuxer is named, so that no other looks at the bytes: some of FFmpeg's read lists of further files.
_DEMUXERS = {
    MediaType.MP4: "mov",
    MediaType.QUICKTIME: "mov",
    MediaType.AVIF: "mov",
    MediaType.HEIC: "mov",
    MediaType.MATROSKA: "matroska",
    MediaType.WEBM: "matroska",
    MediaType.OGG: "ogg",
    MediaType.AVI: "avi",
}
# What cameras, browsers and servers write. Of FFmpeg's other decoders many were not looked at in years.
_CODECS = {
    *("h263", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3"),
    *("av1", "theora", "vp8", "vp9", "vc1", "wmv1", "wmv2", "wmv3"),
    *("dvvideo", "ffv1", "flv1", "huffyuv", "mjpeg", "png", "prores", "rawvideo"),
}
_OTHER_NAMES = {"flv", "libdav1d", "msmpeg4"}  # of decoders that are not called like their codec
_SKIPPING = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}  # decoders that can be told so at any frame
_OPTIONS = {"protocol_whitelist": "none", "ignore_editlist": "1", "enable_drefs": "0"}
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_MAX_ERRORS = 32
_ASPECTS = (0.2, 5.0)  # of a pixel; what lies outside is no aspect but a mistake


@dataclass(slots=True)
class _Track:
    """One track of pictures: its packets in the order of decoding, and its table in the order of showing."""

    number: int
    stream: Any
    packets: list[Any] = field(default_factory=list)
    order: list[int] = field(default_factory=list)  # place in the table of each packet
    moments: list[Moment] = field(default_factory=list)
    turned: tuple[int, int] | None = None  # a frame's rotation in degrees, and the orientation that it means

    def settle(self) -> None:
        """Make the table of all packets read."""
        base = float(self.stream.time_base or 0)
        stamps = [p.pts if p.pts is not None else p.dts for p in self.packets]
        known = [stamp for stamp in stamps if stamp is not None]
        first, last = min(known, default=0), 0
        times: list[int] = []
        for stamp in stamps:  # what has no time of its own comes right after what came before
            last = stamp if stamp is not None else last
            times.append(last)
        ranked = sorted(range(len(times)), key=lambda at: (times[at], at))
        self.order = [0] * len(ranked)
        for rank, at in enumerate(ranked):
            self.order[at] = rank
        self.moments = [
            Moment(max(0.0, (times[at] - first) * base), self.packets[at].size, bool(self.packets[at].is_keyframe))
            for at in ranked
        ]


def tables(data: bytes, media_type: MediaType) -> Iterator[list[Moment]]:
    """Yield the table of frames of each track, without decoding any."""
    with explained(data, media_type), _opened(data, media_type) as container:
        tracks, _, _ = _read(container, data, media_type, None)
        for track in tracks:
            yield track.moments


def decode_clip(data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    """Show frames of every track, and cover pictures. Raises `Unscannable` where there are none, or `MemoryError`."""
    with explained(data, media_type), _opened(data, media_type) as container:
        return _decode(container, data, media_type, bounds, showing)


def _opened(data: bytes, media_type: MediaType) -> Any:
    options = _OPTIONS | {"codec_whitelist": ",".join(sorted(_CODECS | _OTHER_NAMES))}
    return av.open(
        io.BytesIO(data), "r", _DEMUXERS[media_type], options, metadata_errors="replace", buffer_size=1 << 16
    )


def _decode(container: Any, data: bytes, media_type: MediaType, bounds: Bounds, showing: Emitter) -> DecodeSummary:
    tracks, covers, problem = _read(container, data, media_type, bounds)
    total = sum(len(track.moments) for track in tracks)
    more = False
    start = 0
    for track in tracks:
        # A further track is as good a place to hide something as the first one; together they cost as much as one.
        share = max(2, bounds.frames // len(tracks))
        more = more or len(track.moments) > share
        try:
            _show_track(track, share, MAX_COMPARED // len(tracks), start, total, bounds, showing)
        except Unscannable as refusal:
            problem = problem or refusal
        start += len(track.moments)
    pictures = [cover for cover in covers if _is_media(cover)]
    for number, cover in enumerate(pictures[:MAX_COVERS]):
        problem = _show_cover(cover, 2 * total + 2 * number, bounds, showing) or problem
    if len(pictures) > MAX_COVERS:
        problem = problem or Unscannable(Reason.TOO_LARGE, f"more than {MAX_COVERS} attached pictures")
    if not tracks and not pictures:
        raise problem or Unscannable(Reason.EMPTY, "there is no picture in it")
    return DecodeSummary(total, more, problem)


# --- reading the container


def _read(
    container: Any, data: bytes, media_type: MediaType, bounds: Bounds | None
) -> tuple[list[_Track], list[bytes], Unscannable | None]:
    """Return the tracks that can be decoded with all their packets, what is attached, and what is wrong."""
    problem: Unscannable | None = None
    covers: list[bytes] = []
    tracks: dict[int, _Track] = {}
    attached: set[int] = set()
    for stream in container.streams:
        if stream.type == "attachment":
            covers.append(bytes(stream.data))
        elif stream.type != "video":
            continue
        elif stream.disposition & av.stream.Disposition.attached_pic:
            attached.add(stream.index)
        elif stream.codec_context is None or stream.codec_context.codec.canonical_name not in _CODECS:
            problem = Unscannable(
                Reason.UNSUPPORTED, f"a track of pictures in a coding that is not decoded: {_name(stream)}"
            )
        elif len(tracks) == MAX_TRACKS:
            problem = Unscannable(Reason.TOO_LARGE, f"more than {MAX_TRACKS} tracks of pictures")
        else:
            tracks[stream.index] = _Track(len(tracks) + 1, stream)
    wanted = [container.streams[index] for index in (*tracks, *attached)]
    for packet in _packets(container, wanted, bounds) if wanted else ():
        if isinstance(packet, Unscannable):
            problem = packet
        elif packet.stream_index in attached:
            covers.append(bytes(packet))
        else:
            tracks[packet.stream_index].packets.append(packet)
    for track in tracks.values():
        track.settle()
    if is_cut(data, media_type):
        problem = Unscannable(Reason.TRUNCATED, _cut_text(tracks.values()))
    return [track for track in tracks.values() if track.packets], covers, problem


def _packets(container: Any, streams: list[Any], bounds: Bounds | None) -> Iterator[Any]:
    """Yield all packets; and once, where they break off, why."""
    count, errors = Counter[int](), 0
    while True:
        try:
            for packet in container.demux(streams):
                if packet.size == 0:
                    continue  # the end of a track
                count[packet.stream_index] += 1
                if count[packet.stream_index] > MAX_MOMENTS:
                    yield Unscannable(Reason.TOO_LARGE, f"more than {MAX_MOMENTS} frames")
                    return
                if bounds is not None and not count[packet.stream_index] % 1000 and bounds.late:
                    yield Unscannable(Reason.TOO_SLOW, "it was not read to its end in the time there is")
                    return
                yield packet
            return
        except av.error.MemoryError:
            raise
        except av.FFmpegError as error:  # what follows may be whole again
            errors += 1
            if errors == 1:
                yield Unscannable(Reason.CORRUPT, f"{type(error).__name__}: {error.strerror}")
            if errors == _MAX_ERRORS:
                return


def _cut_text(tracks: Any) -> str:
    end = max((track.moments[-1].time_s for track in tracks if track.moments), default=0.0)
    return f"it ends too early; there is nothing after {end:.1f} s"


def _name(stream: Any) -> str:
    context = stream.codec_context
    return "an unknown one" if context is None else str(context.codec.canonical_name)


# --- decoding


def _show_track(
    track: _Track, share: int, compared: int, start: int, total: int, bounds: Bounds, showing: Emitter
) -> None:
    """Show chosen frames of a track; `start` of `total` frames belong to the tracks before it. Raises `Unscannable`.

    At a first pass also up to `compared` frames that are compared alone; of these it is no matter if some are missing.
    """
    decoder = _Decoder(track, bounds)
    refuse_bomb(decoder.context.width * decoder.context.height, bounds.max_pixels)
    chosen = choose(track.moments, share, bounds.random)
    shown, alike = set(chosen), set(seconds(track.moments, compared) if showing.comparing else ())
    planned = _runs(track, sorted(shown | alike))
    bounds.random.shuffle(planned)  # when the time is up, what is missing is missing anywhere
    planned.sort(key=lambda run: shown.isdisjoint(run[1]))  # but first of what nobody judges
    missing: list[int] = []

    def show_run(first: int, wanted: list[int]) -> list[int]:
        waiting = deque(wanted)
        for rank, frame in decoder.frames(first, waiting):
            place = Place(track.moments[rank].time_s, track=track.number)
            still = _still(frame, track, bounds)
            if rank in shown:
                showing.show(start + rank, place, still, on_black_index=start + rank + total)
            if rank in alike:
                showing.compare(start + rank, place, still)
        return [rank for rank in waiting if rank in shown]

    for first, wanted in planned:
        missing += [rank for rank in wanted if rank in shown] if bounds.late else show_run(first, wanted)
    if missing and decoder.error is not None and not bounds.late:
        missing = show_run(0, sorted(missing))  # what is called a key frame may be none
    if not missing:
        return
    count = len(chosen) - len(missing)
    if bounds.late:
        raise Unscannable(Reason.TOO_SLOW, f"{count} of {len(chosen)} chosen frames in the time there is")
    if decoder.error is not None:
        raise Unscannable(
            Reason.CORRUPT, f"{len(missing)} of {len(chosen)} chosen frames do not decode: {decoder.error}"
        )
    if not count:
        raise Unscannable(Reason.CORRUPT, "no frame decodes")


def _runs(track: _Track, chosen: list[int]) -> list[tuple[int, list[int]]]:
    """Group chosen frames by the packet that decoding must begin with."""
    keys = [at for at, packet in enumerate(track.packets) if packet.is_keyframe or at == 0]
    place = {rank: at for at, rank in enumerate(track.order)}
    grouped: dict[int, list[int]] = {}
    for rank in chosen:
        at = bisect_right(keys, place[rank]) - 1
        if at and rank < track.order[keys[at]]:
            at -= 1  # shown before its key frame: it rests on the one before as well
        grouped.setdefault(keys[at], []).append(rank)
    return list(grouped.items())


class _Decoder:
    """Decodes packets of one track from any key frame on."""

    def __init__(self, track: _Track, bounds: Bounds) -> None:
        self._track = track
        self._bounds = bounds
        stream, context = track.stream, track.stream.codec_context
        name = _ALPHA_DECODERS.get(context.codec.canonical_name)
        if name is not None and stream.metadata.get("alpha_mode") == "1":
            # Only this decoder sees the second picture that holds the transparency.
            other = av.CodecContext.create(name, "r")
            other.extradata = context.extradata
            context = other
        context.thread_count = 1  # the parent runs as many children as it wants work in parallel
        self.context = context
        self._skips = context.codec.canonical_name in _SKIPPING
        self.error: Exception | None = None

    def frames(self, first: int, waiting: deque[int]) -> Iterator[tuple[int, Any]]:
        """Yield the frames of the ranks that wait, ascending, and take these off.

        Where one is not shown by itself, the next one stands for it, under its rank: no rank is given twice.
        """
        if self.context.is_open:
            self.context.flush_buffers()
        for frame in self._decoded(first, frozenset(waiting)):
            shown = waiting[0] if frame.pts is None else int(frame.pts)
            if shown < waiting[0] or shown >= len(self._track.moments):
                continue
            while waiting and waiting[0] <= shown:
                rank = waiting.popleft()
            yield rank, frame
            if not waiting:
                return

    def _decoded(self, first: int, wanted: frozenset[int]) -> Iterator[Any]:
        order, left = self._track.order, len(wanted)
        for at in range(first, len(order)):
            if self._bounds.late:
                return
            packet = self._track.packets[at]
            # Decoders pass the time on as it is, and put frames in the order of showing by themselves.
            packet.pts = packet.dts = order[at]
            left -= order[at] in wanted
            if self._skips:  # what no other frame rests on and nobody wants need not be decoded
                self.context.skip_frame = "DEFAULT" if order[at] in wanted else "NONREF"
            yield from self._fed(packet)
            if not left:
                break
        yield from self._fed(None)

    def _fed(self, packet: Any) -> list[Any]:
        try:
            return list(self.context.decode(packet))
        except av.error.MemoryError:
            raise
        except av.error.EOFError:
            return []
        except av.FFmpegError as error:
            self.error = self.error or error
            return []


def _still(frame: Any, track: _Track, bounds: Bounds) -> Still:
    """Return a frame of a clip as it is to be seen: scaled, with its pixels made square, and upright."""
    refuse_bomb(frame.width * frame.height, bounds.max_pixels)
    if track.turned is None or track.turned[0] != frame.rotation:
        # Once asked for its side data, a frame is not freed at once, and frames can be large.
        track.turned = frame.rotation, _orientation(frame)
    ratio = float(track.stream.sample_aspect_ratio or 1)
    if not _ASPECTS[0] <= ratio <= _ASPECTS[1]:
        ratio = 1.0
    width = max(1, round(frame.width * max(1.0, ratio)))
    height = max(1, round(frame.height / min(1.0, ratio)))
    if width * height > bounds.max_pixels:
        width, height = frame.width, frame.height
    alpha = any(component.is_alpha for component in frame.format.components)
    # Threads of a scaler, one for each core if not told otherwise, last until it is collected, and each takes memory.
    scaled = frame.reformat(*fit(width, height), "rgba" if alpha else "rgb24", interpolation="AREA", threads=1)
    mode, (plane,) = "RGBA" if alpha else "RGB", scaled.planes
    picture = Image.frombytes(mode, (scaled.width, scaled.height), bytes(plane), "raw", mode, plane.line_size)
    return replace(finished(picture, width, height, track.turned[1]), source=None)  # it has no more pixels than that


def _orientation(frame: Any) -> int:
    """Return the EXIF orientation that a frame's display matrix means, to the nearest quarter turn."""
    found = frame.side_data.get(SideData.DISPLAYMATRIX)
    if found is None or len(bytes(found)) < 36:
        return 1
    a, b, _, c, d = struct.unpack_from("<5i", bytes(found))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[a < 0, d < 0]
    return {(False, False): 5, (False, True): 6, (True, True): 7, (True, False): 8}[b < 0, c < 0]


def _is_media(data: bytes) -> bool:
    """Whether an attachment is something to see; most are fonts."""
    try:
        sniff(data[:4096])
    except Unscannable as refusal:
        return refusal.reason is Reason.UNSUPPORTED
    return True


def _show_cover(data: bytes, index: int, bounds: Bounds, showing: Emitter) -> Unscannable | None:
    """Show a picture that is attached; return why, if it cannot be decoded, or not all of it."""
    try:
        kind = sniff(data[:4096])
        if kind.is_clip:
            raise Unscannable(Reason.UNSUPPORTED, "a clip within a clip")
        still = decode_still(data, kind, bounds.max_pixels, bounds.detail, bounds.tiles)
        showing.show(index, Place(part=Part.COVER), still, on_black_index=index + 1)
        problem = still.problem
    except Unscannable as refusal:
        problem = refusal
    return None if problem is None else Unscannable(problem.reason, f"an attached picture: {problem.detail}")
