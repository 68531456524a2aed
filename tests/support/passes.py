"""Runs whole passes in tests: a real ledger and sweep over fake or real stores, with the stand-in policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fedi_safety.acts.delete import Remove
from fedi_safety.acts.purge import RemovePurging
from fedi_safety.app.replay import Rejudge
from fedi_safety.core.actions import Actions
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.decide import BreakerLimits, Mode
from fedi_safety.core.enforcement import Acting, Enforcement
from fedi_safety.core.enums import ActKind, Listing, Recheck
from fedi_safety.core.ledger.notices import Channel
from fedi_safety.core.ledger.records import Filters, Row
from fedi_safety.core.pipeline import Options, Pipeline
from fedi_safety.core.policy import Policy
from fedi_safety.core.ports import Act, Store
from fedi_safety.core.presence import Presence
from fedi_safety.core.runs import Tally
from fedi_safety.core.tracing import Tracing
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from support.fakes import FakeClock, FakeDecoder, FakeDetector, detectors, red_circles

RED_CIRCLE = b"pic red=0.9 circle=0.9"
RED = b"pic red=0.9"
CIRCLE = b"pic circle=0.9"


@dataclass
class Bench:
    """A ledger with the parts of a pass, kept over several passes."""

    path: Path
    store: Store
    policy: Policy = field(default_factory=red_circles)
    clock: FakeClock = field(default_factory=FakeClock)
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    detectors: Sequence[FakeDetector] = field(default_factory=detectors)
    limits: BreakerLimits = field(default_factory=BreakerLimits)
    tracing: Tracing | None = None
    actions: Actions | None = None
    channels: Sequence[Channel] = ()

    def __post_init__(self) -> None:
        self.ledger: SqlLedger = open_ledger(self.path, clock=self.clock, channels=self.channels)

    def close(self) -> None:
        self.ledger.dispose()

    def scan(
        self,
        *,
        dry_run: bool = False,
        act: ActKind | None = ActKind.DELETE,
        recheck: Recheck = Recheck.POLICY,
        resume_acts: bool = False,
        limit: int | None = None,
        prefixes: tuple[str, ...] = (),
        keys: tuple[str, ...] = (),
        accept_gone: bool = False,
        seal: Act | None = None,
        on_start: Callable[[Pipeline], None] = lambda _pipeline: None,
    ) -> tuple[Tally, Enforcement]:
        """Make one pass as `app.scan` does, and return its counts and the sweep."""
        cascade = Cascade(self.detectors, self.policy)
        whole = limit is None and not prefixes and not keys
        pipeline = Pipeline(
            store=self.store,
            decoder=self.decoder,
            cascade=cascade,
            ledger=self.ledger,
            policy=self.policy,
            options=Options(recheck=recheck, limit=limit, prefixes=prefixes, keys=frozenset(keys)),
            clock=self.clock,
            census=partial(self.ledger.census, self.store.url) if whole else None,
        )
        tally = Tally()
        presence = Presence(self.store, self.ledger, accepted=accept_gone)
        acts: dict[ActKind, Act] = dict.fromkeys(ActKind, Remove(self.store))
        acts[ActKind.PURGE] = RemovePurging(self.store)
        if seal is not None:
            acts[ActKind.SEAL] = seal
        with self.ledger.run_lock():
            run = self.ledger.begin_run("scan", self.store.url, {"dry_run": dry_run, "whole": whole})
            if recheck is Recheck.POLICY:
                self.ledger.redecide(run, self.policy.id, Rejudge(self.policy, cascade.available))
            enforcement = Enforcement(
                ledger=self.ledger,
                acting=Acting(
                    self.ledger,
                    acts,
                    run,
                    tally,
                    presence=presence,
                    tracing=self.tracing,
                    limits=None if resume_acts else self.limits,
                ),
                clock=self.clock,
                store=self.store.url,
                mode=Mode(act, dry_run),
                limits=self.limits,
                run=run,
                tally=tally,
                resume_acts=resume_acts,
            )
            on_start(pipeline)
            enforcement.consume(pipeline)
            if self.tracing is not None and not dry_run:
                self.tracing.again(run, lambda: not pipeline.halted)
            if self.actions is not None and not dry_run and act is not None and enforcement.tripped is None:
                self.actions.carry_out(run, lambda: not pipeline.halted)
            complete = None if enforcement.listing is None else enforcement.listing is Listing.COMPLETE
            self.ledger.end_run(run, "interrupted" if pipeline.halted else "done", {}, complete=complete)
        return tally, enforcement

    def rows(self, **filters: object) -> list[Row]:
        """Return what the ledger lists."""
        return list(self.ledger.list_objects(Filters(**filters)))  # type: ignore[arg-type]

    def row(self, key: str) -> Row:
        """Return the one row of a key."""
        (found,) = [row for row in self.rows() if row.key == key]
        return found
