"""I1 Private, the decoder's part: media in a child are in RAM only, and a child has no way out for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedi_safety.core.enums import MediaType
from fedi_safety.core.errors import Unscannable
from fedi_safety.media import Caps, SandboxDecoder
from fedi_safety.media.decoder.confine import landlock
from support.corpus import media_zoo


@pytest.fixture
def hostile() -> Iterator[SandboxDecoder]:
    """Give a child that tells about itself."""
    with SandboxDecoder(Caps(), jobs=1, child_module="support.hostile.child") as decoder:
        yield decoder


def told(decoder: SandboxDecoder, deed: str) -> str:
    """Return what the child says."""
    with pytest.raises(Unscannable) as caught:
        decoder.decode(deed.encode(), MediaType.PNG)
    return caught.value.detail


def test_i1_a_child_holds_nothing_but_memory_and_its_socket(hostile: SandboxDecoder) -> None:
    """Every descriptor is the null device, the control socket, or memory; the medium's own is closed again."""
    for _ in range(3):
        for name in told(hostile, "descriptors").split(" "):
            assert name.startswith(("/dev/null", "socket:", "/memfd:frame", "(deleted)")), name


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "way", ["create a file", "open a file to write", "internet socket", "unix socket", "exec", "fork"]
)
def test_i1_a_child_has_no_way_out(hostile: SandboxDecoder, way: str) -> None:
    """Neither a disk nor the network nor another process can be reached: who tries is killed."""
    assert told(hostile, f"try:{way}") == "the decoder was killed for a forbidden system call"


@pytest.mark.sampled(1)
@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("what", ["a file of the system", "what its parent was told", "its parent's memory"])
def test_i1_a_child_has_nothing_to_tell(hostile: SandboxDecoder, what: str) -> None:
    """No file of the machine, no secret of the parent's can be read."""
    assert told(hostile, f"try:{what}") == "PermissionError"


def test_i1_failures_carry_no_pixels() -> None:
    """The reasons that go to logs and the ledger are short texts without a byte of the medium."""
    with SandboxDecoder(jobs=1) as decoder:
        for sample in media_zoo.bad():
            with pytest.raises(Unscannable) as caught:
                decoder.decode(sample.data, sample.media_type)
            assert len(caught.value.detail) <= 500
            assert "\\x" not in caught.value.detail
