"""A decoding child: takes one medium at a time from its parent and answers with one frame or the reason for none.

Started as a fresh interpreter by `sandbox`. It confines itself before it sees the first medium, writes nothing
anywhere but into its answer, and ends with its parent or when the control socket closes.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
import warnings
from collections.abc import Callable

from fedi_safety.core.errors import Unscannable
from fedi_safety.core.types import MediaType, Reason
from fedi_safety.media import confine, wire
from fedi_safety.media.stills import Still, decode_still

Decode = Callable[[bytes, MediaType, int], Still]


def serve(arguments: list[str], decode: Decode = decode_still) -> None:
    """Answer requests until the parent closes the socket. `arguments` are the whole numbers given by `sandbox`."""
    control_fd, output_fd, parent_pid, max_pixels, max_memory_bytes, max_milliseconds = map(int, arguments)
    warnings.simplefilter("ignore")  # libraries warn about every odd file
    control = socket.socket(fileno=control_fd)
    output = mmap.mmap(output_fd, wire.OUTPUT_BYTES)
    nowhere = os.open(os.devnull, os.O_RDWR)  # before the filter: it is opened for writing
    protections = confine.confine(parent_pid, max_memory_bytes)
    os.dup2(nowhere, 2)  # until here the parent reads why a child did not start
    os.close(nowhere)
    control.send(wire.READY.pack(wire.MAGIC, protections))
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, wire.REQUEST.size, 1)
        if not request:
            return
        sequence, size, kind = wire.REQUEST.unpack(request)
        confine.allow_processor_seconds(max_milliseconds / 1000)
        control.send(_answer(sequence, descriptors[0], size, wire.STILLS[kind], output, max_pixels, decode))


def _answer(
    sequence: int, source: int, size: int, media_type: MediaType, output: mmap.mmap, max_pixels: int, decode: Decode
) -> bytes:
    try:
        still = decode(_read(source, size), media_type, max_pixels)
    except Unscannable as refusal:
        return _refusal(sequence, refusal.reason, refusal.detail)
    except MemoryError:
        return _refusal(sequence, Reason.TOO_LARGE, "decoding it needs more memory than the cap allows")
    output[: len(still.rgb)] = still.rgb
    return wire.REPLY.pack(sequence, 0, still.width, still.height, still.frame_width, still.frame_height, 0)


def _read(source: int, size: int) -> bytes:
    try:
        return os.pread(source, size, 0)
    finally:
        os.close(source)


def _refusal(sequence: int, reason: Reason, detail: str) -> bytes:
    text = wire.cut_text(detail)
    return wire.REPLY.pack(sequence, wire.STATUSES.index(reason), 0, 0, 0, 0, len(text)) + text


if __name__ == "__main__":
    serve(sys.argv[1:])
