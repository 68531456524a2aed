"""Several processes at one ledger, each doing what its seed says, on the same few objects, without a lock.

What they do to the store is counted outside of the ledger, in memory that they share: that no object is in two hands at
once, that no plan is carried out twice, and that a person's no wins over all that is started after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import text

from fedi_safety.app.ledger import SystemClock
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Reason, Verdict
from fedi_safety.core.errors import LedgerUsageError
from fedi_safety.core.ledger.review import DecisionKind, DecisionState
from fedi_safety.core.ledger.stored_scores import RedecideFn
from fedi_safety.core.ledger.uploads import Move, UploadNote, UploadState
from fedi_safety.core.types import (
    Content,
    FactorHit,
    Judged,
    Judgement,
    Object,
    Outcome,
    Plan,
    RuleHit,
    Scores,
    Signal,
    Unscanned,
)
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.ledgers import share_compiled

STORES = ("fake://one", "fake://two")
CONTENTS = 12
OBJECTS = 10  # of one round
MOST = 8  # processes
AT_ONCE = (2, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8)  # in one round, by lot
STEPS = 2  # of one process in one round; two of them plan before
POLICIES = ("p@1", "p@2")
PRELOAD = ["fedi_safety.app.ledger", "fedi_safety.ledger.ledger", "support.interleaving"]


def sha(number: int) -> bytes:
    """Return a content's hash."""
    return hashlib.sha256(b"%d" % number).digest()


_NUMBER = {sha(number): number for number in range(CONTENTS)}


def content(number: int, value: float) -> Content:
    """Return a content with these scores."""
    scores = Scores({"test.red": Signal(value, 0), "test.round": Signal(0.25)}, {"test": f"{number % 3}+abc"})
    return Content(sha(number), 1000 + number, MediaType.PNG, 64, 32, 1, scores)


def judgement(number: int, policy: str, value: float) -> Judgement:
    """Return what a policy says: the second one is milder to every third content."""
    if number % 3 == 0 and policy == POLICIES[1]:
        return Judgement(Verdict.CLEAR, (), (), policy)
    verdict = Verdict.REVIEW if number % 5 == 4 else Verdict.BLOCK
    hit = FactorHit("round", 0.5, value, "test.red", 0)
    return Judgement(verdict, ("red",), (RuleHit("red circle", verdict, "red", (hit,)),), policy)


def _redecide(policy: str) -> RedecideFn:
    return lambda sha256, scores: judgement(_NUMBER[sha256], policy, scores.signals["test.red"].value)


class Outside:
    """What happens at the store, in memory that all processes share."""

    def __init__(self, context: Any) -> None:
        """Nothing happened yet."""
        self.guard = context.Lock()
        self.in_hand = context.Array("i", OBJECTS * len(STORES), lock=False)
        self.dismissed = context.Array("i", CONTENTS, lock=False)
        self.present = context.Array("i", OBJECTS * len(STORES), lock=False)

    def renew(self) -> None:
        """Put everything there for a round."""
        for place in range(OBJECTS * len(STORES)):
            self.present[place] = 1
            self.in_hand[place] = 0

    @contextlib.contextmanager
    def held(self, place: int) -> Iterator[PlanState]:
        """Take an object in hand and remove it; give how that ends. Two at once is what must never be."""
        with self.guard:
            assert not self.in_hand[place], "two processes act on one object at once"
            self.in_hand[place] = 1
            state = PlanState.DONE if self.present[place] else PlanState.GONE
            self.present[place] = 0
        try:
            yield state
        finally:
            self.in_hand[place] = 0


@dataclass(frozen=True, slots=True)
class Said:
    """What a process has to say of its round."""

    error: str | None
    done: list[int]  # plans that were carried out
    taken: list[int]  # decisions that it took to carry them out
    noted: int  # uploads that were written down


class Hand:
    """One process's share of one round."""

    def __init__(self, ledger: SqlLedger, run: int, outside: Outside, seed: int, turn: int, me: int, of: int) -> None:
        """Take part as number `me` of so many."""
        self.ledger, self.run, self.outside = ledger, run, outside
        self.chance = random.Random(seed)
        self.turn, self.me, self.of = turn, me, of
        self.plans: list[Plan] = []
        self.done: list[int] = []
        self.taken: list[int] = []
        self.noted = 0

    def play(self) -> None:
        """Do what the seed says."""
        if self.me < 2:
            self.plan()
        steps: list[tuple[int, Callable[[], None]]] = [
            (4, self.plan), (6, self.act), (2, self.record), (2, self.speak), (1, self.redecide), (1, self.read),
            (2, self.upload), (1, self.confirm), (1, self.decide),
        ]  # fmt: skip
        weights = [weight for weight, _ in steps]
        for _, step in self.chance.choices(steps, weights, k=STEPS):
            time.sleep(self.chance.random() * 0.002)
            step()

    def _some(self) -> list[tuple[Object, int]]:
        numbers = self.chance.sample(range(OBJECTS), self.chance.randint(1, 6))
        return [
            (Object(f"{self.turn:06}/{n}", 1000, 10**18 + self.turn), (n * 7 + self.turn) % CONTENTS) for n in numbers
        ]

    def _judged(self, obj: Object, number: int) -> Judged:
        value = self.chance.choice((0.75, 0.875))
        return Judged(obj, content(number, value), judgement(number, self.chance.choice(POLICIES), value))

    def record(self) -> None:
        """Record what a scan found: most of it judged, some of it unreadable."""
        found = [
            Unscanned(obj, Reason.FETCH_FAILED) if self.chance.random() < 0.1 else self._judged(obj, number)
            for obj, number in self._some()
        ]
        self.ledger.record(self.run, self.chance.choice(STORES), found)

    def plan(self) -> None:
        """Plan for what was recorded by whomever."""
        store, some = self.chance.choice(STORES), self._some()
        self.ledger.record(self.run, store, [self._judged(obj, number) for obj, number in some])
        wanted = [(obj, sha(number)) for obj, number in some]
        self.plans += self.ledger.plan(self.run, store, wanted, self.chance.choice((ActKind.DELETE, ActKind.PURGE)))

    def act(self) -> None:
        """Start what can be got of all that waits, and do it; or give it back; or fail."""
        store = self.chance.choice(STORES)
        waiting = [*self.ledger.open_plans(store)]
        waiting = [plan for plan in waiting if plan.object.key.startswith(f"{self.turn:06}/")]
        self.chance.shuffle(waiting)
        said_no = {number for number in range(CONTENTS) if self.outside.dismissed[number]}
        mine = self.ledger.start(self.run, waiting[: self.chance.randint(1, 5)])
        started = {_NUMBER[plan.sha256] for plan in mine}
        still = {number for number in said_no if self.outside.dismissed[number]}
        assert not started & still, "what a person dismissed was started"
        end = self.chance.random()
        if end < 0.15:
            self.ledger.give_back(self.run, mine)
            return
        outcomes = []
        for plan in mine:
            place = STORES.index(store) * OBJECTS + int(plan.object.key.rpartition("/")[2])
            if end < 0.3:
                outcomes.append(Outcome(plan, PlanState.FAILED, "the store is away"))
                continue
            with self.outside.held(place) as state:
                time.sleep(self.chance.random() * 0.002)
                outcomes.append(Outcome(plan, state))
        self.ledger.close(self.run, outcomes)
        self.done += [outcome.plan.id for outcome in outcomes if outcome.state is PlanState.DONE]

    def _own(self) -> int:
        """Return a content of which this process alone speaks as a person."""
        return self.chance.choice([number for number in range(CONTENTS) if number % self.of == self.me])

    def speak(self) -> None:
        """Dismiss a content, or take that back."""
        number = self._own()
        with contextlib.suppress(LedgerUsageError):  # nobody recorded it yet
            if self.outside.dismissed[number] and self.chance.random() < 0.6:
                self.outside.dismissed[number] = 0
                self.ledger.restore(sha(number), "yes", self.run)
            else:
                self.ledger.dismiss(sha(number), "no", self.run)
                self.outside.dismissed[number] = 1

    def confirm(self) -> None:
        """Say of any content that it is what a rule said, or take that back."""
        number = self.chance.randrange(CONTENTS)
        with contextlib.suppress(LedgerUsageError):  # it is dismissed, or clear, or not there
            if self.chance.random() < 0.5:
                self.ledger.confirm(sha(number), "so it is", f"person {self.me}")
            else:
                self.ledger.unconfirm(sha(number), "not so", f"person {self.me}")

    def decide(self) -> None:
        """Decide on the review pages, and carry out what waits there, as two people at two gates do."""
        wanted = [sha(self.chance.randrange(CONTENTS)) for _ in range(3)]
        made, _ = self.ledger.decide(DecisionKind.REMOVE, wanted, "", "person", 0.0, time.time())
        if made and self.chance.random() < 0.2:
            self.ledger.undo_decisions(made[0].batch)
        for decision in self.ledger.take_decisions(20, 60.0):
            self.taken.append(decision.id)
            self.ledger.close_decision(decision, DecisionState.DONE, "")

    def redecide(self) -> None:
        """Apply a policy to all that is stored."""
        policy = self.chance.choice(POLICIES)
        self.ledger.redecide(self.run, policy, _redecide(policy))

    def upload(self) -> None:
        """Write what a gate judged, refused or let in, and what became of earlier uploads."""
        names = [f"{self.turn}-{self.me}-{self.chance.random()}" for _ in range(2)]
        number = self.chance.randrange(CONTENTS)
        notes = [
            UploadNote(name, time.time(), "front", self.chance.choice((UploadState.OWED, UploadState.REFUSED)), "why",
                       "gate", sha(number), 1000)
            for name in names
        ]  # fmt: skip
        judged = [self._judged(Object("", 1000, 0), self.chance.randrange(CONTENTS))]
        self.ledger.record_uploads(self.run, judged, notes, [Move(names[0], UploadState.SETTLED, "clear")])
        self.noted += len(notes)

    def read(self) -> None:
        """Ask what a pass, a gate and a report ask."""
        self.ledger.lookup(self.chance.choice(STORES), [obj for obj, _ in self._some()], POLICIES[0])
        self.ledger.contents([sha(number) for number in range(CONTENTS)])
        self.ledger.dismissed([sha(number) for number in range(CONTENTS)])
        self.ledger.figures(histograms=False)
        self.ledger.upload_figures(time.time())


def live(channel: Connection, outside: Outside, me: int) -> None:
    """Be one of the processes: open the ledger that is named, play the rounds that are asked for."""
    share_compiled()  # with the ledgers that come after it
    ledger: SqlLedger | None = None
    run = 0
    while (asked := channel.recv()) is not None:
        place, turn, seed, of = asked
        try:
            if place is not None:
                if ledger is not None:
                    ledger.dispose()
                    ledger = None
                if place:
                    ledger = open_ledger(place, clock=SystemClock(), busy_timeout_s=60)
                    run = ledger.begin_run("scan", STORES[0], {"dry_run": False})
                channel.send(Said(None, [], [], 0))
                continue
            assert ledger is not None
            hand = Hand(ledger, run, outside, seed, turn, me, of)
            hand.play()
            channel.send(Said(None, hand.done, hand.taken, hand.noted))
        except BaseException:  # noqa: BLE001 - it is the parent's to tell
            channel.send(Said(traceback.format_exc(), [], [], 0))
    if ledger is not None:
        ledger.dispose()


class Crowd:
    """Eight processes that are there for many rounds, of which each round takes some."""

    def __init__(self) -> None:
        """Start them."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self.outside = Outside(context)
        self._channels: list[Connection] = []
        self._processes = []
        for me in range(MOST):
            own, theirs = context.Pipe()
            process = context.Process(target=live, args=(theirs, self.outside, me), daemon=True)
            process.start()
            theirs.close()
            self._channels.append(own)
            self._processes.append(process)
        self.done: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.noted = 0

    def move_to(self, place: str) -> None:
        """Have all of them open another ledger, which is there."""
        self.done.clear()
        self.taken.clear()
        self.noted = 0
        for number in range(CONTENTS):
            self.outside.dismissed[number] = 0
        self._open(place)

    def leave(self) -> None:
        """Have all of them close their ledger."""
        self._open("")

    def _open(self, place: str) -> None:
        for one in self._channels:
            one.send((place, 0, 0, 0))
        self._hear(self._channels, "opening")

    def play(self, turn: int, seed: int) -> None:
        """Play one round: 2 to 8 of them at once."""
        chance = random.Random(seed)
        self.outside.renew()
        some = self._channels[: chance.choice(AT_ONCE)]
        for one in some:
            one.send((None, turn, chance.randrange(1 << 30), len(some)))
        self._hear(some, f"round {turn} (seed {seed}, {len(some)} processes)")

    def _hear(self, some: Sequence[Connection], what: str) -> None:
        said: list[Said] = []
        for one in some:
            assert one.poll(120), f"{what}: no answer"
            said.append(one.recv())
        for each in said:
            assert each.error is None, f"{what}: {each.error}"
            self.done.update(each.done)
            self.taken.update(each.taken)
            self.noted += each.noted

    def close(self) -> None:
        """End them."""
        for one in self._channels:
            with contextlib.suppress(OSError):
                one.send(None)
        for process in self._processes:
            process.join(20)


def checked(ledger: SqlLedger, crowd: Crowd) -> None:
    """Hold a ledger against what was counted outside of it."""
    assert set(crowd.done.values()) <= {1}, "a plan was carried out twice"
    assert set(crowd.taken.values()) <= {1}, "a decision was taken twice"

    def one(statement: str) -> Any:
        with ledger.database.read() as connection:
            return connection.execute(text(statement)).scalar_one()

    assert one("SELECT count(*) FROM acts WHERE outcome = 'done'") == crowd.done.total()
    assert one("SELECT count(*) FROM acts WHERE closed_at IS NULL") == 0
    assert one("SELECT count(*) - count(DISTINCT object_id) FROM plans WHERE open") == 0
    assert one("SELECT count(*) FROM uploads") == crowd.noted
    assert one("SELECT count(*) - count(DISTINCT sha256) FROM review_decisions WHERE open") == 0
    found = ledger.verify()
    assert (found.problem, found.miscounted) == (None, None)
