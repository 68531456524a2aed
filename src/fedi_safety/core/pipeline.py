"""The order of the work: list, look up, fetch, decode, score, judge, side by side through bounded queues.

It calls the ports and decides nothing: what a score means is `policy`'s, what is done about it
`enforcement`'s. It neither writes the ledger nor touches the store.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import islice

from fedi_safety.core.cascade import Cascade
from fedi_safety.core.classes import dataclass
from fedi_safety.core.enums import MediaType, Reason, Recheck
from fedi_safety.core.errors import StoreError, Unscannable, out_of_memory
from fedi_safety.core.examine import DecodedMedium, Examiner, decoder_mark
from fedi_safety.core.ledger.census import Census
from fedi_safety.core.ledger.ports import Memory
from fedi_safety.core.policy import Policy, by_a_person
from fedi_safety.core.ports import Clock, Decoder, ReadableStore
from fedi_safety.core.queues import ByteBudget, Pipe, Stopped
from fedi_safety.core.types import Content, Judged, Judgement, Known, Object, Unscanned

_FIRST_LOOKUP_OBJECTS = 16  # few, so that the first pictures are on their way while a slow store still lists
_LOOKUP_OBJECTS = 512
_RECENT_CONTENTS = 4096  # more than can wait for the ledger, so that a content is never judged twice in between


@dataclass(frozen=True, slots=True)
class Remembered:
    """An unchanged object that the ledger already knows; it was not opened."""

    object: Object
    known: Known


Result = Judged | Unscanned | Remembered


@dataclass(frozen=True, slots=True)
class Options:
    """What of the store is looked at, and by how many threads."""

    prefixes: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()  # these objects alone, where there are any
    since: float | None = None
    limit: int | None = None
    recheck: Recheck = Recheck.POLICY
    max_bytes: int = 128 << 20
    held_bytes: int = 256 << 20  # of all objects between fetching and decoding
    held_frame_bytes: int = 256 << 20  # of all frames between decoding and judging
    fetchers: int = 2
    decoders: int = 2
    scorers: int = 2
    max_batch: int = 8


@dataclass(slots=True)
class Stages:
    """Seconds that threads spent in each stage, summed over threads. For benchmarks and the run's record."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def timed(self, stage: str, clock: Clock) -> Iterator[None]:
        """Add the time spent inside to `stage`."""
        start = clock.monotonic()
        try:
            yield
        finally:
            taken = clock.monotonic() - start
            with self.lock:
                self.seconds[stage] += taken


@dataclass(frozen=True, slots=True)
class _Fetched:
    object: Object
    sha256: bytes
    media_type: MediaType
    data: bytes
    refused: Unscannable | None = None  # why there is nothing in it to decode


@dataclass(frozen=True, slots=True)
class _Framed:
    object: Object
    medium: DecodedMedium


def _key(item: Object | Unscanned) -> str:
    return item.key if isinstance(item, Object) else item.object.key


class Pipeline:
    """One pass over a store. Make one per run; `results` may be called once."""

    def __init__(
        self,
        *,
        store: ReadableStore,
        decoder: Decoder,
        cascade: Cascade,
        ledger: Memory,
        policy: Policy,
        options: Options,
        clock: Clock,
        census: Callable[[], Census] | None = None,
        hashed: Callable[[Sequence[bytes]], set[bytes]] | None = None,
    ) -> None:
        """Join the ports. With a `census` the pass is over all of the store, and what is listed is noted there.

        It is begun with the listing: what was removed before is not looked for. With `hashed`, which says which
        contents were hashed, no detector is asked: what was judged before and not hashed is, all else is left alone.
        """
        self._hashed = hashed
        self._store = store
        self._decoder = decoder
        self._ledger = ledger
        self._policy = policy
        self._options = options
        self._clock = clock
        self._begin_census = census
        self.census: Census | None = None
        self.listed_all = False  # the listing came to its end
        self._decoder_mark = decoder_mark(decoder)
        self.stages = Stages()
        self._examiner = Examiner(decoder, cascade, policy, self.stages, clock)
        self._halt = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        # Contents that are being judged, with the objects that wait for the same verdict, and those just judged.
        self._claims: dict[bytes, list[Object]] = {}
        self._recent: OrderedDict[bytes, tuple[Content, Judgement]] = OrderedDict()
        threads = max(options.decoders, options.scorers)
        self._to_fetch: Pipe[Object] = Pipe(8 * options.fetchers, 1)
        self._to_decode: Pipe[_Fetched] = Pipe(2 * threads, options.fetchers)
        self._to_score: Pipe[_Framed] = Pipe(3 * options.max_batch, options.decoders)
        self._out: Pipe[list[Result]] = Pipe(64, 1 + options.fetchers + options.decoders + options.scorers)
        self._budget = ByteBudget(max(options.held_bytes, options.max_bytes))
        self._frame_budget = ByteBudget(options.held_frame_bytes)
        self.frames = 0
        self.bytes = 0

    def halt(self) -> None:
        """List nothing more; what is in hand is finished and still comes out of `results`. Safe in a signal handler."""
        self._halt.set()

    @property
    def halted(self) -> bool:
        """Whether `halt` was called."""
        return self._halt.is_set()

    def results(self, *, wait_s: float = 0.5) -> Generator[list[Result], None, None]:
        """Run, and yield results as they come, in lists of any length; an empty list when `wait_s` passed without one.

        Raises whatever a stage raised (`StoreError`, `LedgerError`, `ModelError`) after the other stages have stopped.
        """
        options = self._options
        self.census = None if self._begin_census is None else self._begin_census()
        threads = [
            *self._threads("list", 1, self._list, self._to_fetch.finish),
            *self._threads("fetch", options.fetchers, self._fetch, self._to_decode.finish),
            *self._threads("decode", options.decoders, self._decode, self._to_score.finish),
            *self._threads("score", options.scorers, self._score, None),
        ]
        for thread in threads:
            thread.start()
        try:
            while (items := self._out.take(1, wait_s)) is not None:
                yield items[0] if items else []
        except Stopped:
            pass
        finally:
            self._abort()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def _threads(
        self, name: str, count: int, work: Callable[[], None], finished: Callable[[], None] | None
    ) -> list[threading.Thread]:
        """Return the threads of one stage; each says when it has put its last item into the next stage's queue."""
        return [
            threading.Thread(target=self._guarded, args=(work, finished), name=f"{name}-{i}", daemon=True)
            for i in range(count)
        ]

    def _guarded(self, work: Callable[[], None], finished: Callable[[], None] | None) -> None:
        """Run a stage. Whatever ends it early ends the whole pass and comes out of `results`, bugs included."""
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, never swallowed
            with self._lock:
                self._failure = self._failure or error
            self._abort()
        finally:
            if finished is not None:
                finished()
            self._out.finish()

    def _abort(self) -> None:
        for pipe in (self._to_fetch, self._to_decode, self._to_score, self._out):
            pipe.abort()
        self._budget.abort()
        self._frame_budget.abort()

    # --- listing

    def _list(self) -> None:
        options = self._options
        listing = self._store.list(options.prefixes or tuple(sorted(options.keys)), options.since)
        if options.keys:
            listing = (item for item in listing if _key(item) in options.keys)
        if options.limit is not None:
            listing = islice(listing, options.limit)
        most = _FIRST_LOOKUP_OBJECTS
        while not self._halt.is_set() and self._failure is None:
            chunk = self._next_chunk(listing, most)
            if not chunk:
                self.listed_all = self._failure is None
                return
            most = min(2 * most, _LOOKUP_OBJECTS)
            gaps = [item for item in chunk if isinstance(item, Unscanned)]
            self._note(gaps)
            done: list[Result] = list(gaps)
            objects = [item for item in chunk if isinstance(item, Object)]
            fresh: list[Object] = []
            for obj, known in self._looked_up(objects):
                if known is not None and self._stands(known):
                    done.append(Remembered(obj, known))
                else:
                    fresh.append(obj)
            if done:
                self._out.put(done)
            for obj in fresh:
                if self._halt.is_set():
                    return
                self._to_fetch.put(obj)

    def _next_chunk(self, listing: Iterator[Object | Unscanned], most: int) -> list[Object | Unscanned]:
        """List up to `most` objects. A store that fails ends the listing; what it listed before is still judged."""
        chunk: list[Object | Unscanned] = []
        with self.stages.timed("list", self._clock):
            try:
                chunk.extend(islice(listing, most))
            except StoreError as error:
                self._store_failed(error)
        return chunk

    def _store_failed(self, error: StoreError) -> None:
        """Take nothing more from the store. What it gave before is still judged, so that it is judged only once."""
        with self._lock:
            self._failure = self._failure or error

    def _note(self, gaps: Sequence[Unscanned]) -> None:
        """Note what is there and cannot be read, and directories that hide what is beneath them."""
        if self.census is not None and gaps:
            self._ledger.lookup(self._store.url, [gap.object for gap in gaps], None, self.census)
            for gap in gaps:
                self.census.note(gap)

    def _look_up(self, objects: Sequence[Object]) -> Sequence[Known | None]:
        anew = self._options.recheck is Recheck.ALL
        if anew and self.census is None:
            return [None] * len(objects)
        policy = None if self._options.recheck is Recheck.NEVER else self._policy.id
        with self.stages.timed("look up", self._clock):
            found = self._ledger.lookup(self._store.url, objects, policy, self.census)
        return [None] * len(objects) if anew else found

    def _looked_up(self, objects: Sequence[Object]) -> list[tuple[Object, Known | None]]:
        """Return what is remembered of objects; where hashes are all that is made, of the judged ones alone."""
        found = list(zip(objects, self._look_up(objects), strict=True))
        if self._hashed is None:
            return found
        judged = [(o, known) for o, known in found if known is not None and known.verdict is not None and known.sha256]
        hashed = self._hashed([known.sha256 for _, known in judged if known.sha256 is not None])
        return [(o, known if known.sha256 in hashed else None) for o, known in judged]

    def _stands(self, known: Known) -> bool:
        """Whether what is remembered needs no new pass: a settled verdict, or a failure that is not due again."""
        if self._hashed is not None:
            return True
        kept = known.verdict is not None and self._options.recheck is Recheck.NEVER
        if known.decoder not in (None, self._decoder_mark) and not kept:
            return False  # another decoder may do better
        if known.reason is None:
            return known.settled
        if not known.settled:
            return False
        return not known.reason.transient or (known.retry_at or 0) > self._clock.now()

    # --- fetching

    def _fetch(self) -> None:
        for batch in self._to_fetch.batches(1):
            for obj in batch:
                self._budget.take(obj.size)
                try:
                    with self.stages.timed("fetch", self._clock):
                        fetched = self._read(obj)
                except (Unscannable, MemoryError) as error:
                    self._budget.give_back(obj.size)
                    failure = error if isinstance(error, Unscannable) else out_of_memory("read")
                    self._out.put([self._unscanned(obj, failure)])
                    continue
                except StoreError as error:
                    self._budget.give_back(obj.size)
                    self._store_failed(error)
                    self._to_fetch.abort()
                    return
                if self._claimed(fetched):
                    self._to_decode.put(fetched)
                else:
                    self._budget.give_back(obj.size)

    def _read(self, obj: Object) -> _Fetched:
        found: list[MediaType] = []
        refused: Unscannable | None = None

        def accept(head: bytes) -> None:
            nonlocal refused
            try:
                found.append(self._decoder.sniff(head))
            except Unscannable as error:
                if obj.size > self._options.max_bytes or not (head and self._examiner.knows_bytes):
                    raise
                found.append(MediaType.OTHER)
                refused = error
            if obj.size > self._options.max_bytes:
                raise Unscannable(Reason.TOO_LARGE, f"{obj.size} bytes, more than {self._options.max_bytes}")

        data = self._store.fetch(obj, accept)
        with self._lock:
            self.bytes += len(data)
        return _Fetched(obj, hashlib.sha256(data).digest(), found[0], data, refused)

    def _claimed(self, fetched: _Fetched) -> bool:
        """Whether this content is to be judged now. Otherwise its verdict is known, or another object brings it."""
        sha256 = fetched.sha256
        with self._lock:
            if sha256 in self._claims:
                self._claims[sha256].append(fetched.object)
                return False
            recent = self._recent.get(sha256)
            if recent is None:
                self._claims[sha256] = [fetched.object]
        if recent is not None:
            self._out.put([Judged(fetched.object, *recent, fresh=False)])
            return False
        if self._options.recheck is Recheck.ALL or self._hashed is not None:
            return True
        remembered = self._ledger.contents([sha256]).get(sha256)
        if remembered is None:
            return True
        content, judgement, decided = remembered
        whole = content.partly is None or content.decoder == self._decoder_mark
        current = (judgement.policy == self._policy.id and whole) or self._options.recheck is Recheck.NEVER
        current = current or by_a_person(judgement)
        if not (decided and current):
            return True
        self._settle(content, judgement, fresh=False)
        return False

    def _settle(self, content: Content, judgement: Judgement, *, fresh: bool) -> None:
        """Send the verdict out for every object that waits for this content, what was scored with the first one."""
        lasting = content
        if content.hashes is not None or content.scores.embeddings or content.scores.explanation is not None:
            lasting = replace(content, scores=replace(content.scores, embeddings=(), explanation=None), hashes=None)
        with self._lock:
            waiting = self._claims.pop(content.sha256)
            self._recent[content.sha256] = lasting, judgement
            while len(self._recent) > _RECENT_CONTENTS:
                self._recent.popitem(last=False)
        first, *others = waiting
        self._out.put(
            [Judged(first, content, judgement, fresh), *(Judged(o, lasting, judgement, False) for o in others)]
        )

    def _give_up(self, sha256: bytes, error: Unscannable) -> None:
        """Send out the failure for every object that waits for this content."""
        with self._lock:
            waiting = self._claims.pop(sha256)
        self._out.put([self._unscanned(obj, error, sha256) for obj in waiting])

    def _unscanned(self, obj: Object, error: Unscannable, sha256: bytes | None = None) -> Unscanned:
        return Unscanned(obj, error.reason, error.detail, sha256, self._decoder_mark if error.reason.of_decoder else "")

    # --- decoding

    def _decode(self) -> None:
        for batch in self._to_decode.batches(1):
            for item in batch:
                if self._hashed is not None:
                    self._rehash(item)
                    continue
                kept = False
                try:
                    medium = self._examiner.decode(item.sha256, item.data, item.media_type, item.refused)
                    kept = medium.data is not None
                except Unscannable as error:
                    self._give_up(item.sha256, error)
                    continue
                finally:
                    if not kept:
                        self._budget.give_back(item.object.size)
                self._frame_budget.take(medium.frame_bytes)
                self._to_score.put(_Framed(item.object, medium))

    def _rehash(self, item: _Fetched) -> None:
        """Hash what was judged before; what lists say of it is added to its scores."""
        try:
            stored = self._ledger.contents([item.sha256]).get(item.sha256)
            if stored is None:
                raise Unscannable(Reason.CHANGED, "these are not the bytes that were judged")
            content, judgement, _ = stored
            content, anew = self._examiner.rehash(content, item.data)
            said = judgement if anew is None or by_a_person(judgement) else anew
            self._settle(content, said, fresh=True)
        except Unscannable as error:
            self._give_up(item.sha256, error)
        finally:
            self._budget.give_back(item.object.size)

    # --- scoring and judging

    def _score(self) -> None:
        start = self._clock.monotonic()
        for batch in self._to_score.batches(self._options.max_batch):
            with self.stages.lock:
                self.stages.seconds["wait for frames"] += self._clock.monotonic() - start
            try:
                self._judge(batch)
            finally:
                for item in batch:
                    self._frame_budget.give_back(item.medium.frame_bytes)
                    if item.medium.data is not None:
                        self._budget.give_back(item.object.size)
            start = self._clock.monotonic()

    def _judge(self, batch: Sequence[_Framed]) -> None:
        examined = self._examiner.examine([item.medium for item in batch], self._ledger.dismissed)
        words = self._words([item.medium.sha256 for item in batch])
        for item, found in zip(batch, examined, strict=True):
            if isinstance(found, Unscannable):
                self._give_up(item.medium.sha256, found)
                continue
            content, judgement = found
            with self._lock:
                self.frames += content.frames
            self._settle(content, words.get(content.sha256, judgement), fresh=True)

    def _words(self, sha256s: Sequence[bytes]) -> dict[bytes, Judgement]:
        """Return what a person condemned of these; only where all is judged anew can there be such among them."""
        if self._options.recheck is not Recheck.ALL:
            return {}
        known = self._ledger.contents(sha256s)
        return {sha256: judgement for sha256, (_, judgement, _) in known.items() if by_a_person(judgement)}
