"""Two hours of outages on a fast clock: `watch` over a real S3 server, a real sshd and a real pict-rs, all failing.

While new objects keep coming, each server is in turn out of reach, slow, wrong and restarted. At the end every object
was judged exactly once, none was lost, what was condemned is gone and nothing else. The objects are made so that half
of one would get the opposite verdict. Servers, proxies and files are real; the clock, the decoder and the detectors are
not, and the modification times of the objects are set to the clock's.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from PIL import Image, ImageDraw

from fedi_safety.app.engine import Engine
from fedi_safety.app.ledger import SharedRunLock
from fedi_safety.app.stores import Target
from fedi_safety.clients.pictrs import PictrsClient
from fedi_safety.config.loading import load_settings
from fedi_safety.config.schema import S3, Settings, Ssh
from fedi_safety.core.enums import Detail, MediaType
from fedi_safety.core.ledger.records import Filters
from fedi_safety.core.ports import Store
from fedi_safety.core.types import Decoded
from fedi_safety.ledger.ledger import open_ledger
from fedi_safety.stores.pictrs import PictrsStore
from fedi_safety.stores.s3.faults import Patience
from fedi_safety.stores.s3.store import open_s3
from fedi_safety.stores.sftp.connections import Waits
from fedi_safety.stores.sftp.store import SftpStore
from fedi_safety.stores.sftp.trust import read_url
from fedi_safety.watch.cycles import Rhythm, Shared, StoreWatch, Wanted
from support.fakes import FakeDecoder, TickingClock, detectors, red_circles, text_frame
from support.needs import needs
from support.servers import sshd
from support.servers.faults import Faults, faults_before
from support.servers.pictrs import PictrsServer, pictrs_server
from support.servers.s3 import S3Server, s3_server
from support.servers.sshd import Sshd
from support.servers.wire import Wire, wire_before

MINUTE = 60.0
RHYTHM = Rhythm(every_s=60.0, overlap_s=20 * MINUTE)
HOURS_MIN = 120
LATER_MIN = 180  # the longest wait after it: a failed object's own back-off
PAD = "." * 20_000


def is_condemned(number: int) -> bool:
    """Whether the object of this number is made to be condemned."""
    return number % 5 == 2


def harmless(number: int) -> bytes:
    """Return an object of whose first half one would think otherwise."""
    return f"pic n{number:05} red=0.9 circle=0.9 {PAD} circle=0.0".encode()


def condemned(number: int) -> bytes:
    """Return an object that looks harmless until its very end."""
    return f"pic n{number:05} red=0.0 circle=0.0 {PAD} red=0.9 circle=0.9".encode()


def drawing(number: int, *, red: bool) -> bytes:
    """Return a picture: a red circle, or a blue square."""
    image = Image.new("RGB", (48, 48), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    if red:
        pen.ellipse((8, 8, 40, 40), fill=(250, 0, 0))
    else:
        pen.rectangle((8, 8, 40, 40), fill=(0, 0, 250))
    image.putpixel((0, 0), (number % 256, number // 256, 7))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Decoder(FakeDecoder):
    """Decodes the texts as ever, and the drawings that pict-rs wants; counts both."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[], None] = lambda: None

    def sniff(self, head: bytes) -> MediaType:
        return MediaType.PNG if head.startswith(b"\x89PNG") else super().sniff(head)

    def decode(self, data: bytes, media_type: MediaType, detail: Detail = Detail.COARSE) -> Decoded:
        self.hook()
        if not data.startswith(b"\x89PNG"):
            return super().decode(data, media_type, detail)
        self.decoded.append(data)
        with Image.open(io.BytesIO(data)) as image:
            r, _, b = cast("tuple[int, int, int]", image.convert("RGB").getpixel((24, 24)))
        value = 0.9 if r > b else 0.0
        words = f"pic {hashlib.sha256(data).hexdigest()} red={value} circle={value}"
        return Decoded(media_type, 48, 48, (text_frame(0, words.encode()),))


@dataclass
class Trouble:
    """Something that is wrong from one minute to another; `felt` is what the daemon must have said of it."""

    start: int
    end: int
    begin: Callable[[], object]
    finish: Callable[[], object]
    felt: str
    heard: list[str] = field(default_factory=list)


@dataclass
class Place:
    """One watched store, the ways to make it fail, and what was put there."""

    name: str
    url: str
    settings: Settings
    opener: Callable[[], Store]
    put: Callable[[int, float], bytes]  # stores object `number` as of a time, and returns its bytes
    standing: Callable[[], set[bytes]]  # the SHA-256 of what is there now, seen without fedi-safety
    every: int = 1  # minutes between two uploads
    troubles: list[Trouble] = field(default_factory=list)
    sent: dict[bytes, bool] = field(default_factory=dict)  # SHA-256 -> whether it is condemned
    due: float = 0.0
    cycles: Counter[str] = field(default_factory=Counter)

    known_as: str = ""  # its name in the ledger, once it was opened

    def open(self) -> Store:
        store = self.opener()
        self.known_as = store.url
        return store


class Soak:
    """The daemon's cycles over all places, driven by the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = TickingClock(float(int(time.time())) - 5 * 3600.0)
        self.began = self.clock.now()
        self.decoder = Decoder()
        self.detectors = detectors()
        self.places: list[Place] = []
        self.watches: dict[str, StoreWatch] = {}

    def start(self) -> None:
        """Start a daemon, or another one after `stop`."""
        self.ledger = open_ledger(self.path, clock=self.clock)
        engine = Engine(self.decoder, list(self.detectors), "fake", 2)
        self.shared = Shared(
            self.ledger,
            engine,
            red_circles(),
            SharedRunLock(self.ledger),
            self.clock,
            RHYTHM,
            Wanted(cascade=False),
        )
        for place in self.places:
            self.watches[place.name] = StoreWatch(cast("Target", place), self.shared)

    def stop(self) -> None:
        for watch in self.watches.values():
            watch.close()
        self.ledger.dispose()

    @property
    def minute(self) -> float:
        return (self.clock.now() - self.began) / MINUTE

    def upload(self, place: Place, at: float | None = None) -> None:
        """One more object."""
        number = 10_000 * self.places.index(place) + len(place.sent)
        data = place.put(number, self.clock.now() if at is None else at)
        place.sent[hashlib.sha256(data).digest()] = is_condemned(number)

    def step(self, place: Place) -> None:
        """One cycle, and what must be true of the mark after it."""
        watch = self.watches[place.name]
        before = self.ledger.watermark(place.known_as)
        start = self.clock.now()
        rest = watch.step()
        after = self.ledger.watermark(place.known_as)
        if watch.failing:
            assert after == before, "a failed cycle moved the mark"
        else:
            assert after is not None and after.high_water == start
        place.cycles["failed" if watch.failing else "complete"] += 1
        place.due = start + rest
        said = watch.health.error or ""
        for trouble in place.troubles:
            if trouble.start <= (start - self.began) / MINUTE < trouble.end and said not in trouble.heard:
                trouble.heard.append(said)

    def run(self, until: Callable[[], bool], *, uploads: bool, extra: Callable[[int], None] = lambda _m: None) -> None:
        """Let time pass: troubles, uploads and cycles, each when it is due."""
        with ThreadPoolExecutor(2 * len(self.places)) as threads:
            while not until():
                minute = round(self.minute)
                for place in self.places:
                    for trouble in place.troubles:
                        if trouble.end == minute:
                            trouble.finish()
                    for trouble in place.troubles:
                        if trouble.start == minute:
                            trouble.begin()
                extra(minute)
                jobs = []
                if uploads:
                    jobs += [threads.submit(self.upload, p) for p in self.places if minute % p.every == 0]
                jobs += [threads.submit(self.step, p) for p in self.places if p.due <= self.clock.now()]
                for job in jobs:
                    job.result()
                self.clock.advance(self.began + (round(self.minute) + 1) * MINUTE - self.clock.now())

    @property
    def sent(self) -> dict[bytes, bool]:
        """Everything that was put anywhere, and whether it is condemned."""
        return {sha: bad for place in self.places for sha, bad in place.sent.items()}

    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.ledger.list_objects(Filters()))

    @property
    def settled(self) -> bool:
        """Whether the ledger holds that everything was judged and what is condemned is gone."""
        wanted = Counter("removed" if bad else "judged" for bad in self.sent.values())
        return self.states() == wanted


# --- the places


def spoiling(
    place: Place, proxy: Faults, start: int, end: int, kind: str, felt: str, contains: str = "", method: str = ""
) -> None:
    """Have a proxy spoil answers for some minutes, and see that it did."""

    def finish() -> None:
        proxy.mend(kind)
        assert proxy.spoilt[kind] > before[kind], f"nobody met {kind}"

    def begin() -> None:
        before[kind] = proxy.spoilt[kind]
        proxy.spoil(kind, 1 << 30, contains=contains, method=method)

    before: Counter[str] = Counter()
    place.troubles.append(Trouble(start, end, begin, finish, felt))


def bucket(server: S3Server, proxy: Faults) -> Place:
    name = server.make_bucket("soak")
    access = S3.model_validate(
        {
            "access_key_id": server.access_key,
            "secret_access_key": server.secret_key,
            "endpoint": proxy.endpoint,
            "connections": 4,
        }
    )
    patience = Patience(3, first_wait_s=0.01, longest_wait_s=0.05, connect_s=2, read_s=1, slowest_bytes_per_s=10**6)

    def put(number: int, at: float) -> bytes:
        data = condemned(number) if is_condemned(number) else harmless(number)
        # Named as pict-rs names its objects, so that new ones are listed from a key.
        key = f"{int(at * 1000):012x}{number:020x}"
        parts = [key[i : i + 2] for i in range(0, 20, 2)]
        path = "/".join([*parts, f"{key[20:]}.png"])
        if server.process is None:  # nobody can upload now: it comes when the server is back
            late.append((number, at))
            return data
        server.put(name, path, data)
        dated = at if number % 11 else at - RHYTHM.overlap_s / 2  # now and then as if the service's clock were behind
        os.utime(server.root / name / path, (dated, dated))
        return data

    late: list[tuple[int, float]] = []

    def start() -> None:
        server.start()
        for number, at in late:
            put(number, at)
        late.clear()

    def standing() -> set[bytes]:
        return {
            hashlib.sha256(path.read_bytes()).digest() for path in (server.root / name).rglob("*") if path.is_file()
        }

    place = Place(
        "bucket", f"s3://{name}", load_settings(), lambda: open_s3(f"s3://{name}", access, patience), put, standing
    )

    spoiling(place, proxy, 46, 48, "truncate", "", "/soak/0")
    spoiling(place, proxy, 48, 50, "short length", "", "/soak/0")
    spoiling(place, proxy, 50, 52, "long length", "", "/soak/0")
    spoiling(place, proxy, 52, 54, "reset in body", "", "/soak/0")
    spoiling(place, proxy, 54, 56, "trickle", "", "/soak/0")
    spoiling(place, proxy, 58, 88, "denied", "removals failed", method="DELETE")
    spoiling(place, proxy, 58, 61, "storm", "503 SlowDown")
    spoiling(place, proxy, 66, 69, "html page", "the answer is not S3's")
    spoiling(place, proxy, 74, 77, "expired", "credentials have expired")
    spoiling(place, proxy, 82, 85, "reset", "connection broke off")
    spoiling(place, proxy, 90, 93, "stall", "too slow")
    place.troubles += [
        Trouble(4, 34, proxy.refuse, proxy.listen, "connection is refused"),
        Trouble(98, 102, server.stop, start, "connection"),
    ]
    return place


def tree(server: Sshd, wire: Wire) -> Place:
    access = Ssh.model_validate(
        {"known_hosts": str(server.known_hosts), "identity_file": str(server.identity), "connections": 2}
    )
    url = server.url.replace(f":{server.port}/", f":{wire.port}/")
    waits = Waits(connect_s=2, request_s=1, keepalive_s=5, tries=3, backoff_s=0.02, reconnect_s=0.3)
    incoming = server.jail / "incoming"
    incoming.mkdir()
    closed: list[bool] = []

    def put(number: int, at: float) -> bytes:
        data = condemned(number) if is_condemned(number) else harmless(number)
        folder = server.media / f"{number // 20:03}"
        if not folder.exists():
            folder.mkdir()
            os.chown(folder, server.media.stat().st_uid, -1)
        path = incoming / f"{number:05}"
        path.write_bytes(data)
        os.chown(path, server.media.stat().st_uid, -1)
        os.utime(path, (int(at), int(at)))
        path.chmod(0 if closed else 0o644)
        path.rename(folder / path.name)
        return data

    def standing() -> set[bytes]:
        return {hashlib.sha256(path.read_bytes()).digest() for path in server.media.rglob("*") if path.is_file()}

    def protect(mode: int) -> None:
        for path in server.media.iterdir():
            path.chmod(mode)

    def conceal() -> None:
        closed.append(True)

    def reveal() -> None:
        closed.clear()
        for path in server.media.rglob("*"):
            if path.is_file():
                path.chmod(0o644)

    def trust() -> None:
        kind, key, *_ = (server.home / "host_key.pub").read_text().split()
        server.known_hosts.write_text(f"[127.0.0.1]:{wire.port} {kind} {key}\n")

    def another_host() -> None:
        server.new_host_key()
        server.restart()

    def lock_out() -> None:
        (server.home / "authorized_keys").write_text("")
        server.cut()

    place = Place("tree", url, load_settings(), lambda: SftpStore(read_url(url), access, waits=waits), put, standing)

    trust()
    place.troubles += [
        Trouble(3, 28, lambda: protect(0o555), lambda: protect(0o755), "removals failed"),
        Trouble(30, 60, wire.refuse, wire.listen, "nothing listens"),
        Trouble(71, 75, another_host, trust, "HOST KEY HAS CHANGED"),
        Trouble(80, 84, lock_out, server.write_authorized, "login .* was refused"),
        Trouble(88, 91, lambda: wire.hold(True), lambda: wire.hold(False), "."),
        Trouble(96, 98, lambda: wire.slow(100_000), lambda: wire.slow(0), ""),
        Trouble(99, 103, server.stop, server.start, "."),
        Trouble(64, 94, conceal, reveal, ""),
    ]
    return place


def pictures(server: PictrsServer, proxy: Faults) -> Place:
    url = f"pictrs+{proxy.endpoint}"

    def opener() -> Store:
        return PictrsStore(PictrsClient(proxy.endpoint, server.api_key, pause_s=0.01, read_s=2.0))

    def put(number: int, at: float) -> bytes:
        data = drawing(number, red=is_condemned(number))
        alias = server.upload(data)
        stored: bytes = server.http.get(f"{server.url}/image/original/{alias}").content
        return stored

    def standing() -> set[bytes]:
        return {hashlib.sha256((server.files / name).read_bytes()).digest() for name in server.stored()}

    def restart() -> None:
        server.stop()
        server.start()

    place = Place("pictures", url, load_settings(), opener, put, standing, every=5)
    spoiling(place, proxy, 44, 47, "truncate", "", "/image/original")
    spoiling(place, proxy, 48, 51, "storm", "503")
    spoiling(place, proxy, 56, 59, "html page", "does not answer like a pict-rs")
    spoiling(place, proxy, 64, 67, "expired", "API key is not accepted")
    spoiling(place, proxy, 72, 75, "reset in body", "cannot be reached|not understood")
    spoiling(place, proxy, 82, 107, "denied", "", "/internal/purge")
    place.troubles += [
        Trouble(8, 33, proxy.refuse, proxy.listen, "cannot be reached"),
        Trouble(79, 80, restart, lambda: None, ""),
    ]
    return place


@pytest.fixture
@needs("s3", "sftp", "pictrs")
def soak(tmp_path: Path) -> Iterator[Soak]:
    with ExitStack() as stack:
        made = Soak(tmp_path / "ledger.db")
        s3 = stack.enter_context(s3_server())
        made.places.append(bucket(s3, stack.enter_context(faults_before(s3.port))))
        base = sshd.new_base()
        stack.callback(shutil.rmtree, base)
        server = Sshd(base)
        server.start()
        stack.callback(server.stop)
        made.places.append(tree(server, stack.enter_context(wire_before(server.port))))
        pictrs = stack.enter_context(pictrs_server())
        made.places.append(pictures(pictrs, stack.enter_context(faults_before(pictrs.port))))
        made.start()
        yield made
        made.stop()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hours_of_outages(soak: Soak) -> None:
    def another_daemon(minute: int) -> None:
        if minute == 62:
            soak.stop()
            soak.start()

    soak.run(lambda: soak.minute >= HOURS_MIN, uploads=True, extra=another_daemon)
    a_cycle_longer_than_the_overlap(soak, soak.places[0])
    soak.run(lambda: soak.settled or soak.minute >= HOURS_MIN + LATER_MIN, uploads=False)

    sent = soak.sent
    assert len(sent) > 250 and 40 < sum(sent.values()) < 80
    # Judged exactly once, by the decoder and by every detector; and nothing that was not sent, such as half an object.
    judged = Counter(hashlib.sha256(data).digest() for data in soak.decoder.decoded)
    assert {sha: times for sha, times in judged.items() if times != 1 or sha not in sent} == {}
    assert set(judged) == set(sent), "some were never judged"
    for detector in soak.detectors:
        assert len(detector.seen) == len(set(detector.seen)) == len(sent), detector.name
    # None is lost or wrongly removed, and every condemned one is removed.
    for place in soak.places:
        assert place.standing() == {sha for sha, bad in place.sent.items() if not bad}, place.name
    assert soak.settled, soak.states()
    assert soak.ledger.verify().problem is None
    # The troubles were felt, and are over.
    for place in soak.places:
        for trouble in place.troubles:
            assert re.search(trouble.felt, " | ".join(trouble.heard)), (place.name, trouble)
        assert soak.watches[place.name].health.state == "ok"
        assert place.cycles["failed"] > 10 and place.cycles["complete"] > 50, (place.name, place.cycles)


def a_cycle_longer_than_the_overlap(soak: Soak, place: Place) -> None:
    """While it goes on, something comes in behind the listing, dated just after the cycle's start."""
    soak.run(lambda: not soak.watches[place.name].failing, uploads=False)
    soak.upload(place)
    start = soak.clock.now()

    def meanwhile() -> None:
        soak.decoder.hook = lambda: None
        soak.clock.advance(1.5 * RHYTHM.overlap_s)
        soak.upload(place, start + 1)

    soak.decoder.hook = meanwhile
    soak.step(place)
    assert soak.clock.now() > start + RHYTHM.overlap_s
