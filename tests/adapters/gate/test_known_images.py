"""Lists of known images at the gate: before a network, by bytes of any kind, over the wire, never clear if damaged."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence

from fedi_safety.app.engine import Engine
from fedi_safety.core.known.types import Effect, Entry, HashKind
from fedi_safety.core.types import Content, Judgement
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.judging.engine import EngineJudge
from fedi_safety.judging.messages import Result, result_of
from fedi_safety.judging.metrics import Metrics
from fedi_safety.judging.types import Answer, Unjudged, Upload
from invariants.test_i2_known_images import LISTED, OTHER, POLICY, UNKNOWN, Pictures, Sharp
from support.stand_in_lists import StandInLists, drawn, listed, pdq_of, picture_entry


class NoMemory:
    """Remembers no content."""

    def contents(self, sha256s: Sequence[bytes]) -> dict[bytes, tuple[Content, Judgement, bool]]:
        return {}

    def dismissed(self, sha256s: Sequence[bytes]) -> set[bytes]:
        return set()


def asked(lists: StandInLists, *media: bytes) -> tuple[list[Answer], str | None, Sharp]:
    """Give media to a judge one after another; return its answers, and whether it is ready then."""
    detector = Sharp("a", ("a.red",))

    async def ask() -> tuple[list[Answer], str | None]:
        engine = Engine(Pictures(), [detector], "fake", 1, recognizer=Known(lists))
        judge = EngineJudge(lambda: engine, POLICY, NoMemory(), lambda *_verdict: None, Metrics())
        await judge.start()
        assert judge.loaded is not None
        await judge.loaded
        warm = len(detector.batches)
        answers = []
        for data in media:
            now = time.monotonic()
            upload = Upload("1", "test", data, None, hashlib.sha256(data).digest(), now, now + 30)
            answers.append(await judge.judge(upload))
        del detector.batches[:warm]
        ready = judge.ready()
        await judge.stop()
        return answers, ready

    return *asyncio.run(ask()), detector


def test_what_is_listed_is_refused_before_a_network_runs_whatever_kind_it_is() -> None:
    entries = picture_entry(drawn(1), "1"), Entry(HashKind.MD5, hashlib.md5(UNKNOWN).digest(), "2")
    answers, ready, detector = asked(StandInLists(listed("b", Effect.BLOCK, *entries)), LISTED, UNKNOWN, OTHER, b"a,b")
    assert [answer.outcome for answer in answers] == ["block", "block", "clear", "unjudged"]
    assert answers[3].reason is Unjudged.NOT_MEDIA and ready is None
    assert sum(detector.batches) == 1


def test_a_worker_tells_the_gate_what_a_content_is_found_again_by() -> None:
    (answer,), _, _ = asked(StandInLists(listed("b", Effect.BLOCK, picture_entry(drawn(1)[:, ::-1], "1"))), LISTED)
    told = result_of("lease", answer).model_dump_json()
    content = Result.model_validate_json(told).answer(answer.sha256, len(LISTED), "worker").content
    assert content is not None and content.hashes is not None and answer.content is not None
    assert content.hashes == answer.content.hashes and content.hashes.pictures[0].pdq == pdq_of(drawn(1))
    assert content.scores.signals["known.block"].matches[0].turn == "mirrored"


def test_with_damaged_lists_nothing_is_clear_and_the_gate_is_not_ready() -> None:
    lists = StandInLists(listed("b", Effect.BLOCK, picture_entry(drawn(1), "1")))
    lists.broken = True
    answers, ready, detector = asked(lists, LISTED, OTHER, UNKNOWN)
    assert [answer.reason for answer in answers] == [Unjudged.ENGINE_FAILED] * 3
    assert ready == Unjudged.ENGINE_FAILED.value and not detector.batches
