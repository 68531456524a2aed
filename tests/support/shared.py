"""Instances that publish and subscribe, each with a ledger, lists and a log of its own. All hashes are random ones."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from fedi_safety.app.sharing.publishing import Publication, publish
from fedi_safety.app.sharing.subscribing import Brought, fetch, subscribe
from fedi_safety.clients.list_server import ListServer
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Hashes,
    Judged,
    Judgement,
    Object,
    Outcome,
    PictureHash,
    RuleHit,
    Scores,
    Signal,
)
from fedi_safety.sharing.change import Change, Entry, Kind, Retraction, Word, link_of, read_change
from fedi_safety.sharing.log import Log, Wanted
from fedi_safety.sharing.minisign import PublicKey, Signature, digest_of
from fedi_safety.sharing.signed import What, read_head, read_statement, split
from support.judged_before import World, md5, sha


def more(digest: bytes, bits: int) -> bytes:
    """Return a hash with so many bits set that were not: a hash with fewer than photographs have is met by itself."""
    number = int.from_bytes(digest, "big")
    for bit in [bit for bit in range(256) if not number >> bit & 1][:bits]:
        number |= 1 << bit
    return number.to_bytes(32, "big")


class Instance(World):
    """An instance by its name, which is its list's as well."""

    def __init__(self, folder: Path, name: str, **sharing: object) -> None:
        folder.mkdir()
        super().__init__(folder)
        values = {"name": name, **sharing}
        made = type(self.settings.sharing)(**values)
        self.settings = self.settings.model_copy(update={"sharing": made})
        self.name = name

    def condemned(
        self, key: str, pictures: Sequence[bytes] = (), *, moves: bool = False, red: float = 1.0, quality: int = 90
    ) -> bytes:
        """Judge something by its own rules; return its SHA-256."""
        made = tuple(PictureHash(i if moves else i << 22, quality, each) for i, each in enumerate(pictures))
        hashes = Hashes(hashlib.sha1(key.encode()).digest(), md5(key), made)
        frames = FrameScores.of([FrameScore(0, 0, signals={"pixels.red": red})], closed=True)
        scores = Scores({"pixels.red": Signal(red)}, {"pixels": "1"}, frames=frames)
        content = Content(sha(key), 9, MediaType.PNG, 640, 480, 1, scores, hashes=hashes)
        factor = FactorHit("red", 0.5, red, "pixels.red", 0)
        reason = RuleHit("Red circle!", Verdict.BLOCK, None, (factor,))
        item = Judged(Object(key, 9, 1), content, Judgement(Verdict.BLOCK, (), (reason,), "before"))
        self.ledger.record(self.ledger.begin_run("scan", self.url, {}), self.url, [item])
        return sha(key)

    def removed(self, key: str, pictures: Sequence[bytes] = (), *, confirmed: bool = True, **how: object) -> bytes:
        """Condemn something, remove it, and confirm it."""
        sha256 = self.condemned(key, pictures, **how)  # type: ignore[arg-type]
        run = self.ledger.begin_run("apply", self.url, {})
        plans = self.ledger.plan(run, self.url, [(Object(key, 9, 1), sha256)], ActKind.DELETE)
        started = self.ledger.start(run, plans)
        self.ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in started])
        if confirmed:
            self.ledger.confirm(sha256, "", "a person")
        return sha256

    def publish(self, **how: bool) -> Publication:
        """Bring its log in step."""
        return publish(self.settings, self.ledger, **how)

    def end(self) -> None:
        """Close what is open."""
        self.catalog.close()
        self.ledger.dispose()


class Published:
    """A publisher with nothing but a log, asked as over HTTP; on a clock of its own that may be wrong.

    `tamper` changes what is answered, by the last part of the path.
    """

    def __init__(self, folder: Path, name: str, clock: list[float], *, off_s: float = 0.0) -> None:
        self.name, self.folder, self.clock = name, folder, clock
        self.log = Log(folder, now=lambda: clock[0] + off_s)
        self.off_s = off_s
        self.wanted: dict[tuple[str, str, str], Wanted] = {}
        self.token = f"token of {name}".replace(" ", "-")
        self.tamper: dict[str, Callable[[bytes], bytes]] = {}
        self.gone = False
        self.asked: list[str] = []
        self.key = self.log.create(name).key

    def lists(self, *values: bytes, **how: Any) -> None:
        """Put hashes onto its list, PDQs unless said, and publish."""
        for value in values:
            told: dict[str, Any] = {
                "kind": "pdq",
                "clip": "",
                "type": Kind.RECOMMENDATION,
                "verdict": Word.CONDEMNED,
            } | how
            now = int(self.clock[0] + self.off_s)
            made = Wanted(
                hash=value.hex(), content=value, category="", quality=80 if told["kind"] == "pdq" else 0, seen=0,
                since=now, **told,
            )  # fmt: skip
            self.wanted[made.kind, made.hash, made.clip] = made
        self.log.publish(self.wanted.values())

    def retracts(self, value: bytes) -> None:
        """Take a hash off again."""
        self.wanted = {named: each for named, each in self.wanted.items() if each.hash != value.hex()}
        self.log.publish(self.wanted.values())

    def copied(self, folder: Path) -> Published:
        """The same log and key once more, to go another way with."""
        shutil.copytree(self.folder, folder)
        other = Published(folder, self.name, self.clock, off_s=self.off_s)
        other.wanted, other.token = dict(self.wanted), self.token
        return other

    def server(self) -> ListServer:
        """What asks it."""
        transport = httpx.MockTransport(self._answer)
        return ListServer(self.name, transport=transport, pause_s=0.0, said=f"publisher {self.name}")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        what = request.url.path.rpartition("/")[2]
        self.asked.append(what)
        if self.gone:
            raise httpx.ConnectError("no such host")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return httpx.Response(401)
        state = self.log.state()
        assert state is not None
        if what == "head":
            body = state.head
        elif what == "changes":
            body = self.log.page(int(request.url.params["after"]), state.seq)
        else:
            with self.log.snapshot(state) as file:
                body = gzip.decompress(file.read())
        body = self.tamper[what](body) if what in self.tamper else body
        return httpx.Response(200, stream=httpx.ByteStream(gzip.compress(body)), headers={"Content-Encoding": "gzip"})


class Subscriber(Instance):
    """An instance that subscribes, on the same clock as its publishers."""

    def __init__(self, folder: Path, clock: list[float], **sharing: object) -> None:
        super().__init__(folder, "me.example", **sharing)
        self.clock = clock

    def now(self) -> float:
        """The time here."""
        return self.clock[0]

    def subscribe(
        self, to: Published, *, key: str | None = None, token: str | None = None, group: str | None = None
    ) -> Brought:
        """Subscribe to a publisher."""
        return subscribe(
            self.settings, self.ledger, self.catalog, f"https://{to.name}", key or to.key, token or to.token,
            group=group, now=self.now, server=to.server(),
        )  # fmt: skip

    def fetch(self, of: Published) -> Brought:
        """Read on in a publisher's log."""
        return fetch(self.settings, self.ledger, self.catalog, of.name, now=self.now, server=of.server())

    def waits(self, hours: float, *publishers: Published) -> None:
        """Let time pass, publishers sign anew, and read on."""
        self.clock[0] += hours * 3600
        for each in publishers:
            each.lists()
            self.fetch(each)

    def listed(self, name: str) -> set[str]:
        """The hashes on a list; none where it is not there."""
        if all(each.name != name for each in self.catalog.lists()):
            return set()
        return {entry.hash.hex() for entry in self.catalog.entries(name)}


def snapshot_of(log: Log) -> bytes:
    """The snapshot as it is signed."""
    state = log.state()
    assert state is not None
    with log.snapshot(state) as file:
        return gzip.decompress(file.read())


def verified(log: Log) -> list[Change]:
    """Every change, held to its chain and to the signed head and snapshot."""
    state = log.state()
    assert state is not None
    lines = log.page(0, state.seq).split(b"\n")[:-1]
    found = [read_change(line) for line in lines]
    for at, change in enumerate(found):
        assert change.seq == at + 1
        assert at == 0 or change.prev == link_of(lines[at - 1])
    head = read_head(state.head).check(PublicKey.of_text(state.key))
    assert (head.seq, head.link, head.name) == (len(found), state.link, state.name)
    if lines:
        assert head.link == link_of(lines[-1])
    text, body = split(snapshot_of(log))
    Signature.of_text(text).check(PublicKey.of_text(state.key), digest_of(body))
    first, *rest = body.split(b"\n")[:-1]
    snapshot = read_statement(first, What.SNAPSHOT)
    assert (snapshot.seq, snapshot.link, snapshot.entries) == (head.seq, head.link, len(rest))
    in_force: dict[tuple[str, str, str], bytes] = {}
    for change, line in zip(found, lines, strict=True):
        if isinstance(change, Entry):
            in_force[change.named] = line
        elif isinstance(change, Retraction):
            del in_force[change.named]
    assert sorted(in_force.values()) == sorted(line for line in rest)
    return found
