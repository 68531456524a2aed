"""A decoding child: takes one medium at a time from its parent and answers with its frames, or the reason for none.

Started as a fresh interpreter by `media/pool`. It confines itself before it sees the first medium, writes nothing
anywhere but into its answer, and ends with its parent or when the control socket closes.
"""

from __future__ import annotations

import gc

gc.disable()  # while what stays is imported: looking through it again and again is a twentieth of a child's start

# ruff: noqa: E402
import mmap
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import astuple, replace
from random import Random

from fedi_safety.core.enums import MediaType, Reason
from fedi_safety.core.errors import Unscannable
from fedi_safety.core.frames.shown import Frame
from fedi_safety.media import protocol
from fedi_safety.media.caps import MAX_COMPARED_FRAMES
from fedi_safety.media.decoder.confine import process
from fedi_safety.media.decoder.dispatch import decode
from fedi_safety.media.decoder.frames.emitter import Bounds, DecodeSummary, Emitter

Decode = Callable[[bytes, MediaType, Bounds, Emitter], DecodeSummary]

# After this share of the time no new frame is begun, so that what is there arrives before the parent's patience ends.
_TIME_SHARE = 0.6


def serve(arguments: list[str], decode_medium: Decode = decode) -> None:
    """Answer requests until the parent closes the socket. `arguments` are the whole numbers given by `media/pool`."""
    control_fd, output_fd, parent_pid, max_pixels, max_memory_bytes, max_milliseconds, most_frames = map(int, arguments)
    warnings.simplefilter("ignore")  # libraries warn about every odd file
    control = socket.socket(fileno=control_fd)
    output = _Output(output_fd)
    nowhere = os.open(os.devnull, os.O_RDWR)  # before the filter: it is opened for writing
    sys.dont_write_bytecode = True  # of what is imported from here on
    gc.freeze()
    gc.enable()
    # What is written for the parent stays in memory whether it is mapped or not: it counts in any case.
    protections = process.confine(parent_pid, max_memory_bytes - protocol.OUTPUT_BYTES)
    os.dup2(nowhere, 2)  # until here the parent reads why a child did not start
    os.close(nowhere)
    control.send(protocol.READY.pack(protocol.MAGIC, protections))
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, protocol.REQUEST.size, 1)
        if not request:
            return
        if request == protocol.TAKEN:  # frames of the medium before, of which no more came
            continue
        sequence, size, kind, detail, frames, tiles, seed = protocol.REQUEST.unpack(request)
        process.allow_processor_seconds(max_milliseconds / 1000)
        until = time.monotonic() + _TIME_SHARE * max_milliseconds / 1000
        bounds = Bounds(max_pixels, frames, until, Random(seed), protocol.DETAILS[detail], tiles)
        answer = _Answer(control, output, sequence, most_frames)
        answer.end(_shown(descriptors[0], size, protocol.KINDS[kind], bounds, answer, decode_medium))


class _Output:
    """The memory that frames go into: slots one after another. The first stays mapped, for most media need no other."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._first = mmap.mmap(descriptor, protocol.SLOT_BYTES)

    def put(self, slot: int, pixels: bytes) -> None:
        """Write pixels into a slot."""
        if slot == 0:
            self._first[: len(pixels)] = pixels
            return
        with mmap.mmap(self._descriptor, protocol.SLOT_BYTES, offset=slot * protocol.SLOT_BYTES) as window:
            window[: len(pixels)] = pixels


class _Answer:
    """What is sent about one medium."""

    def __init__(self, control: socket.socket, output: _Output, sequence: int, most_frames: int) -> None:
        self._control = control
        self._output = output
        self._sequence = sequence
        self._most = most_frames
        self.frames = 0
        self.shown = 0  # of these the ones that are judged
        self.full = False

    def frame(self, frame: Frame, width: int, height: int, *, compared: bool = False) -> None:
        """Send a frame of a picture of this true size. More than a pass may have are left out."""
        if compared and self.frames - self.shown == MAX_COMPARED_FRAMES:
            return
        if not compared and self.shown == self._most - MAX_COMPARED_FRAMES:
            self.full = True
            return
        if self.frames >= protocol.SLOTS and self.frames % protocol.FRAMES_PER_TAKEN == 0:
            self._control.recv(len(protocol.TAKEN))
        self._output.put(self.frames % protocol.SLOTS, frame.rgb)
        self.frames += 1
        self.shown += not compared
        place = frame.place
        milliseconds = protocol.NO_TIME if place.time_s is None else min(round(place.time_s * 1000), protocol.MOST_TIME)
        part = protocol.PARTS.index(place.part)
        where = (frame.index, frame.picture, milliseconds, place.page, place.track, part)
        bits = protocol.ON_BLACK * place.on_black | protocol.OPAQUE * place.opaque | protocol.COMPARED * compared
        how = (bits, place.bare, place.turned // 90)
        tile = protocol.WHOLE if place.tile is None else astuple(place.tile)
        sizes = (width, height, frame.width, frame.height)
        self._control.send(protocol.FRAME.pack(protocol.FRAME_TAG, self._sequence, *where, *how, *tile, *sizes))

    def compared(self, frame: Frame, width: int, height: int) -> None:
        """Send a frame that is not judged."""
        self.frame(frame, width, height, compared=True)

    def end(self, shown: DecodeSummary) -> None:
        """Say that this was all, and what went wrong."""
        status, text = 0, b""
        if shown.problem is not None:
            status, text = protocol.STATUSES.index(shown.problem.reason), protocol.cut_text(shown.problem.detail)
        total = min(shown.total, protocol.MOST)
        more = protocol.MORE * shown.more | protocol.CLOSER * shown.closer
        word = protocol.END.pack(protocol.END_TAG, self._sequence, status, more, total, len(text))
        self._control.send(word + text)


def _shown(
    source: int, size: int, media_type: MediaType, bounds: Bounds, answer: _Answer, decode_medium: Decode
) -> DecodeSummary:
    try:
        showing = Emitter(answer.frame, bounds, answer.compared)
        shown = showing.completed(decode_medium(_read(source, size), media_type, bounds, showing))
    except Unscannable as refusal:
        shown = DecodeSummary(0, problem=refusal)
    except MemoryError:
        shown = DecodeSummary(
            0, problem=Unscannable(Reason.TOO_LARGE, "decoding it needs more memory than the cap allows")
        )
    if not answer.shown and shown.problem is None:
        shown = DecodeSummary(problem=Unscannable(Reason.CORRUPT, "nothing in it decodes"))
    if answer.full and shown.problem is None:
        shown = replace(shown, problem=Unscannable(Reason.TOO_LARGE, "more frames than a pass has room for"))
    return shown


def _read(source: int, size: int) -> bytes:
    try:
        return os.pread(source, size, 0)
    finally:
        os.close(source)


if __name__ == "__main__":
    serve(sys.argv[1:])
