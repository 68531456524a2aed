"""Embeddings in the ledger: kept as asked, gone with their content, and what a changed definition makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import insert, text, update

from fedi_safety.app.replay import Preview, Rejudge, preview
from fedi_safety.concepts import Concept, ConceptSet
from fedi_safety.concepts.rescoring import ConceptRescorer
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.frames.scores import FrameScore, FrameScores
from fedi_safety.core.ledger.stored_scores import UNDECIDED
from fedi_safety.core.policy import Policy, Rule, judge
from fedi_safety.core.types import Content, Embedding, Judged, Object, Outcome, Scores, Signal
from fedi_safety.ledger import embeddings, score_pages
from fedi_safety.ledger.embeddings import Keep
from fedi_safety.ledger.ledger import SqlLedger, open_ledger
from fedi_safety.ledger.schema import embedding_models
from fedi_safety.ledger.schema import embeddings as table
from support.fakes import FakeClock
from support.ledgers import Opener, rows_of

STORE = "file:///srv/media"
MODEL, OTHER = "net fp32 sha256:aa", "net int8 sha256:bb"
Opened = Callable[..., SqlLedger]


@pytest.fixture
def opened(opener: Opener) -> Opened:
    def open_one(keep: Keep = Keep.FLOAT16) -> SqlLedger:
        return opener(keep=keep)

    return open_one


def unit(*values: float) -> NDArray[np.float32]:
    row = np.array(values, np.float32)
    row /= np.linalg.norm(row)
    return row


def sha(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


RED, BLUE, GREEN = unit(1, 0, 0), unit(0, 1, 0), unit(0, 0, 1)
WORDS = {"red": RED, "blue": BLUE, "green": GREEN}
BEFORE = ConceptSet("before", (Concept("red", ("red",), ("blue", "green")),))
AFTER = ConceptSet("after", (Concept("red", ("red", "blue"), ("green",)),))
POLICY = Policy("p", {"red": ("clip.red",)}, (Rule("red", {"red": 0.5}, Verdict.BLOCK),))


class Source:
    """The detector `clip` as far as rescoring knows it: a word's embedding is its colour's axis."""

    def __init__(self, concepts: ConceptSet, model: str = MODEL) -> None:
        self.concepts = concepts
        self.embedding_model = model
        self.version = f"1.0 {model} {concepts.id}"
        self.asked = 0

    def text_embeddings(self) -> NDArray[np.float32]:
        self.asked += 1
        return np.stack([WORDS[prompt] for prompt in self.concepts.prompts])


def judged(
    key: str,
    *frames: NDArray[np.float32],
    by: ConceptSet = BEFORE,
    model: str = MODEL,
    version: int = 1,
    kept: bool = True,
    signals: dict[str, Signal] | None = None,
    clip: bool = True,
) -> Judged:
    """An object as a scan gives it, scored by these concepts from these embeddings."""
    found = dict(signals or {})
    source = Source(by, model)
    if clip:
        shares = by.shares(np.stack(frames), source.text_embeddings())
        found |= {
            name: Signal(float(shares[:, i].max()), int(shares[:, i].argmax())) for i, name in enumerate(by.signals)
        }
    made = tuple(Embedding(i, model, frame.astype("<f2").tobytes()) for i, frame in enumerate(frames) if kept)
    detectors = {"colour": "1"} | ({"clip": source.version} if clip else {})
    content = Content(sha(key), 9, MediaType.PNG, 8, 8, len(frames), Scores(found, detectors, made))
    in_force = POLICY.among(frozenset(by.signals), by.definitions)
    return Judged(Object(key, 9, version), content, judge(in_force, found))


def record(ledger: SqlLedger, *items: Judged) -> int:
    run = ledger.begin_run("scan", STORE, {})
    ledger.record(run, STORE, items)
    return run


def kept(ledger: SqlLedger, model: str = MODEL) -> dict[bytes, list[tuple[int, list[float]]]]:
    """What is kept, by content: frames with their numbers."""
    with ledger.database.read() as connection:
        row = embeddings.find_model(connection, model)
        page = None if row is None else embeddings.page(connection, row, 0, 10**6)
        names: dict[int, bytes] = {row.id: row.sha256 for row in connection.execute(text("SELECT * FROM contents"))}
    found: dict[bytes, list[tuple[int, list[float]]]] = {}
    if page is not None:
        for content, frame, vector in zip(page.content_ids, page.frames, page.vectors, strict=True):
            found.setdefault(names[content], []).append((int(frame), vector.tolist()))
    return found


# --- keeping


def test_nothing_is_kept_unless_it_is_asked_for(opened: Opened) -> None:
    ledger = opened(Keep.NO)
    record(ledger, judged("a", RED))
    assert kept(ledger) == {} and ledger.kept_embeddings() == []


def test_every_frame_is_kept_and_comes_back_one_long(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", unit(3, 4, 0), BLUE), judged("b", GREEN))
    found = kept(ledger)
    assert found[sha("a")] == [(0, pytest.approx([0.6, 0.8, 0], abs=1e-3)), (1, [0.0, 1.0, 0.0])]
    assert found[sha("b")] == [(0, [0.0, 0.0, 1.0])]
    (total,) = ledger.kept_embeddings()
    assert (total.model, total.encoding, total.frames, total.bytes) == (MODEL, "float16", 3, 3 * 3 * 2)


def outlying(random: np.random.Generator, dim: int = 768) -> NDArray[np.float32]:
    """An embedding as CLIP gives them: one number many times as large as the others."""
    row = random.standard_normal(dim).astype(np.float32)
    row[dim // 3] = 25.0
    row /= np.linalg.norm(row)
    return row


def test_one_byte_a_number_is_enough_for_shares(opened: Opened) -> None:
    random = np.random.default_rng(0)
    rows = [outlying(random) for _ in range(50)]
    ledger = opened(Keep.INT8)
    items = [judged(f"{i}", RED, clip=False, kept=False) for i in range(50)]
    for item, row in zip(items, rows, strict=True):
        object.__setattr__(item.content.scores, "embeddings", (Embedding(0, MODEL, row.astype("<f2").tobytes()),))
    record(ledger, *items)
    found = kept(ledger)
    back = np.array([found[sha(f"{i}")][0][1] for i in range(50)], np.float32)
    assert (np.einsum("ij,ij->i", back, np.stack(rows)) > 0.9998).all()
    # Even steps over the same range would be this coarse.
    even = np.rint(np.stack(rows) / np.abs(rows).max(axis=1, keepdims=True) * 127).astype(np.float32)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    texts = np.stack([outlying(random) for _ in range(200)])
    wrong = [np.abs((each - np.stack(rows)) @ texts.T).max() for each in (back, even)]
    assert wrong[0] < 0.6 * wrong[1] and wrong[0] < 0.002  # cosines; a share moves by a few hundredths at most
    assert ledger.kept_embeddings()[0].bytes == 50 * 768


def test_a_newer_network_takes_the_place_of_an_older(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", RED, BLUE))
    record(ledger, judged("a", GREEN, model=OTHER))
    assert kept(ledger) == {} and kept(ledger, OTHER) == {sha("a"): [(0, [0.0, 0.0, 1.0])]}


def test_a_clip_with_too_many_frames_keeps_none(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", *[RED] * (embeddings.MAX_FRAMES + 1)), judged("b", *[RED] * embeddings.MAX_FRAMES))
    assert {key: len(frames) for key, frames in kept(ledger).items()} == {sha("b"): embeddings.MAX_FRAMES}


def test_a_later_scan_without_embeddings_leaves_the_kept_ones(opened: Opened) -> None:
    record(opened(), judged("a", RED))
    ledger = opened(Keep.NO)
    record(ledger, judged("a", RED, clip=False, kept=False))
    assert sha("a") in kept(ledger)


# --- letting go


def test_they_go_with_the_last_object_that_has_the_content(opened: Opened) -> None:
    ledger = opened()
    twins = [judged("a", RED), judged("a", RED)]
    object.__setattr__(twins[1], "object", Object("b", 9, 1))
    run = record(ledger, *twins, judged("c", RED))
    wanted = [(Object(key, 9, 1), sha("a")) for key in "ab"]
    for number, plan in enumerate(ledger.start(run, ledger.plan(run, STORE, wanted, ActKind.DELETE))):
        ledger.close(run, [Outcome(plan, PlanState.DONE)])
        assert set(kept(ledger)) == ({sha("a"), sha("c")} if number == 0 else {sha("c")})
    assert ledger.verify().problem is None


def test_a_failed_act_removes_none(opened: Opened) -> None:
    ledger = opened()
    run = record(ledger, judged("a", RED))
    plans = ledger.plan(run, STORE, [(Object("a", 9, 1), sha("a"))], ActKind.DELETE)
    ledger.close(run, [Outcome(plan, PlanState.FAILED) for plan in ledger.start(run, plans)])
    assert set(kept(ledger)) == {sha("a")}


def test_they_go_when_the_object_has_other_bytes(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", RED))
    other = judged("b", BLUE, version=2)
    object.__setattr__(other, "object", Object("a", 9, 2))
    record(ledger, other)
    assert set(kept(ledger)) == {sha("b")}


def test_a_content_that_is_deleted_takes_them_along(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", RED))
    with ledger.database.write() as connection:
        for name in ("objects", "judgements", "contents"):
            connection.execute(text(f"DELETE FROM {name}"))
    assert ledger.kept_embeddings() == []


def test_all_can_be_forgotten_at_once(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", RED, BLUE), judged("b", RED))
    assert ledger.forget_embeddings() == 3 and ledger.forget_embeddings() == 0
    assert kept(ledger) == {} and ledger.contents([sha("a")])  # the scores stay


# --- computing anew


def redecide(ledger: SqlLedger, concepts: ConceptSet, policy: Policy = POLICY, model: str = MODEL) -> Source:
    """Decide the ledger anew under these concepts, as a scan does."""
    source = Source(concepts, model)
    available = frozenset(concepts.signals) | {"colour.other"}
    rejudge = Rejudge(policy.among(available, concepts.definitions), available)
    run = ledger.begin_run("scan", STORE, {})
    ledger.redecide(run, rejudge.policy.id, rejudge, outcomes=rejudge.outcomes, rescorer=ConceptRescorer(source))
    return source


def now(ledger: SqlLedger, key: str) -> tuple[dict[str, Signal], Verdict, bool, dict[str, str]]:
    content, judgement, decided = ledger.contents([sha(key)])[sha(key)]
    return dict(content.scores.signals), judgement.verdict, decided, dict(content.scores.detectors)


def test_a_changed_concept_is_applied_from_embeddings_alone(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("red", RED), judged("blue", BLUE), judged("green", GREEN), judged("film", GREEN, RED, BLUE))
    assert [now(ledger, k)[1] for k in ("red", "blue", "green", "film")] == ["block", "clear", "clear", "block"]
    source = redecide(ledger, AFTER)
    assert [now(ledger, k)[1] for k in ("red", "blue", "green", "film")] == ["block", "block", "clear", "block"]
    signals, _, decided, detectors = now(ledger, "film")
    assert signals["clip.red"].value > 0.99 and signals["clip.red"].frame == 1 and len(signals) == 1 and decided
    assert detectors == {"colour": "1", "clip": source.version}
    shown = ledger.show(sha("blue"))
    assert shown and [p.judgement.verdict for p in shown.judgements] == ["clear", "block"]
    assert ledger.verify().problem is None


SPLIT = ConceptSet("split", (Concept("red", ("red",), ("blue",)), Concept("blue", ("blue",), ("red",))))
BOTH = Policy(
    "both",
    {"red": ("clip.red",), "blue": ("clip.blue",), "other": ("colour.other",)},
    (Rule("both", {"red": 0.5, "other": 0.5}, Verdict.BLOCK), Rule("blue", {"blue": 0.5}, None, "blue")),
)


def film(key: str, *frames: tuple[NDArray[np.float32] | None, float]) -> Judged:
    """A clip of which each frame has a colour of its own; clip did not look at those without an embedding."""
    rows, made = [], []
    for i, (vector, other) in enumerate(frames):
        signals = {"colour.other": other}
        if vector is not None:
            shares = BEFORE.shares(vector[None], Source(BEFORE).text_embeddings())
            signals |= {name: float(share) for name, share in zip(BEFORE.signals, shares[0], strict=True)}
            made.append(Embedding(i, MODEL, vector.astype("<f2").tobytes()))
        rows.append(FrameScore(i, i, 0, 1000 * i, f"at {i}", signals))
    known: dict[str, Signal] = {}
    for row in rows:
        for name, value in row.signals.items():
            if name not in known or value > known[name].value:
                known[name] = Signal(value, row.frame, row.where)
    detectors = {"colour": "1", "clip": Source(BEFORE).version}
    scores = Scores(known, detectors, tuple(made), FrameScores.of(rows))
    content = Content(sha(key), 9, MediaType.MP4, 8, 8, len(frames), scores)
    in_force = BOTH.among(frozenset(BEFORE.signals), BEFORE.definitions)
    return Judged(Object(key, 9, 1), content, judge(in_force, known, scores.frames))


def test_of_a_clip_signals_are_computed_frame_by_frame(opened: Opened) -> None:
    """Also where clip looked at some frames alone: the others count as not measured, and hold nothing up or down."""
    ledger = opened()
    apart = film("apart", (RED, 0.1), (BLUE, 0.9))
    together = film("together", (BLUE, 0.1), (RED, 0.9))
    spared = film("spared", (None, 0.1), (RED, 0.9))
    open_ = film("open", (None, 0.9), (BLUE, 0.3))
    record(ledger, apart, together, spared, open_)
    source = redecide(ledger, SPLIT, BOTH)
    assert [now(ledger, k)[1:3] for k in ("apart", "together", "spared")] == [
        (Verdict.CLEAR, True),
        (Verdict.BLOCK, True),
        (Verdict.BLOCK, False),  # blue of its first frame is not known
    ]
    assert now(ledger, "open")[2] is False
    red = Policy("red", BOTH.factors, BOTH.rules[:1])
    redecide(ledger, SPLIT, red)
    assert [now(ledger, k)[1:3] for k in ("apart", "together", "spared", "open")] == [
        (Verdict.CLEAR, True),
        (Verdict.BLOCK, True),
        (Verdict.BLOCK, True),  # red of its first frame does not matter: the other factor rules it out
        (Verdict.CLEAR, False),
    ]
    content, judgement, _ = ledger.contents([sha("together")])[sha("together")]
    assert [(f.signal, f.frame, f.where) for f in judgement.reasons[0].factors] == [
        ("clip.red", 1, "at 1"),
        ("colour.other", 1, "at 1"),
    ]
    assert content.scores.frames is not None and content.scores.detectors["clip"] == source.version
    rows = content.scores.frames.rows()
    assert [row.where for row in rows] == ["at 0", "at 1"] and [row.time_ms for row in rows] == [0, 1000]
    wanted = SPLIT.shares(np.stack([BLUE, RED]), source.text_embeddings())
    for row, shares in zip(rows, wanted, strict=True):
        assert row.signals == pytest.approx(
            dict(zip(SPLIT.signals, shares, strict=True)) | {"colour.other": row.signals["colour.other"]}, abs=0.01
        )
    assert content.scores.signals["clip.blue"].frame == 0 and content.scores.signals["clip.blue"].where == "at 0"
    assert ledger.verify().problem is None


def test_of_a_clip_that_lost_an_embedding_nothing_is_computed(opened: Opened) -> None:
    ledger = opened()
    record(ledger, film("film", (RED, 0.9), (BLUE, 0.1)))
    with ledger.database.write() as connection:
        connection.execute(table.delete().where(table.c.frame == 1))
    redecide(ledger, AFTER, BOTH)
    assert now(ledger, "film")[1:3] == (Verdict.BLOCK, False)
    (page,) = ledger.score_pages(rescorer=ConceptRescorer(Source(AFTER)))
    frames = page.scores(0).frames
    assert frames is not None and "clip.red" not in page.scores(0).signals
    (kept_page,) = ledger.score_pages()
    kept_frames = kept_page.scores(0).frames
    assert kept_frames is not None and all("clip.red" in row.signals for row in kept_frames.rows())


def test_what_is_computed_anew_is_what_a_scan_would_have_given(opened: Opened) -> None:
    random = np.random.default_rng(3)
    rows = {f"{i}": [unit(*random.standard_normal(3)) for _ in range(1 + i % 3)] for i in range(40)}
    ledger = opened()
    record(ledger, *(judged(key, *frames) for key, frames in rows.items()))
    redecide(ledger, AFTER)
    for key, frames in rows.items():
        (wanted,) = judged(key, *frames, by=AFTER).content.scores.signals.values()
        (found,) = now(ledger, key)[0].values()
        assert found.value == pytest.approx(wanted.value, abs=0.02)  # of float16
        if len(frames) == 1:
            assert found.frame == 0


def test_what_has_no_embeddings_is_read_again_and_keeps_its_verdict_until_then(opened: Opened) -> None:
    ledger = opened(Keep.NO)
    before = judged("blue", BLUE)
    record(ledger, before)
    source = redecide(ledger, AFTER)
    signals, verdict, decided, detectors = now(ledger, "blue")
    assert (verdict, decided) == (Verdict.CLEAR, False) and source.asked == 0
    assert signals == before.content.scores.signals  # what explains the old verdict stays with it
    assert detectors == before.content.scores.detectors


def test_embeddings_of_another_network_or_of_too_few_frames_are_of_no_use(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("blue", BLUE, model=OTHER), judged("film", BLUE, BLUE))
    with ledger.database.write() as connection:
        connection.execute(table.delete().where(table.c.frame == 1))
    redecide(ledger, AFTER)
    assert [now(ledger, key)[2] for key in ("blue", "film")] == [False, False]


def test_an_outdated_signal_that_no_rule_needs_does_not_hold_a_verdict_up(opened: Opened) -> None:
    policy = Policy("q", {"x": ("colour.other",)}, (Rule("x", {"x": 0.5}, Verdict.BLOCK),))
    ledger = opened(Keep.NO)
    record(ledger, judged("a", BLUE, signals={"colour.other": Signal(0.9)}))
    redecide(ledger, AFTER, policy)
    signals, verdict, decided, _ = now(ledger, "a")
    assert (verdict, decided) == (Verdict.BLOCK, True)
    assert signals == {"colour.other": Signal(0.9)}  # what `red` meant then is not what it means now


def test_other_definitions_are_left_alone(opened: Opened) -> None:
    """A concept more: what the others gave stands, and it is computed from the same embedding."""
    more = ConceptSet("more", (*BEFORE.concepts, Concept("blue", ("blue",), ("red",))))
    ledger = opened()
    record(ledger, judged("a", BLUE), judged("b", BLUE, kept=False))
    with_blue = Policy("b", {"blue": ("clip.blue",)}, (Rule("blue", {"blue": 0.5}, Verdict.BLOCK),))
    redecide(ledger, more, with_blue)
    assert now(ledger, "a")[0]["clip.blue"].value > 0.99 and now(ledger, "a")[1] is Verdict.BLOCK
    assert now(ledger, "b")[2] is False and set(now(ledger, "b")[0]) == {"clip.red"}


def test_the_same_concepts_ask_for_no_text_embeddings(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", BLUE))
    stricter = Policy("s", POLICY.factors, (Rule("red", {"red": 0.001}, Verdict.BLOCK),))
    assert redecide(ledger, BEFORE, stricter).asked == 0


def test_a_preview_says_what_a_scan_would_do_and_writes_nothing(opened: Opened) -> None:
    ledger = opened()
    record(
        ledger,
        judged("red", RED),
        judged("blue", BLUE),
        judged("green", GREEN),
        judged("lost", BLUE, kept=False),
        judged("unseen", GREEN, clip=False, kept=False),
    )
    available = frozenset(AFTER.signals)
    rejudge = Rejudge(POLICY.among(available, AFTER.definitions), available)
    before = rows_of(ledger.database), ledger.verify().head
    found = preview(rejudge, ledger.score_pages(rescorer=ConceptRescorer(Source(AFTER))))
    assert found == Preview(
        rejudge.policy.id,
        objects=5,
        undecided=2,
        computed=3,
        changes={("block", "block"): 1, ("clear", "block"): 1, ("clear", "clear"): 1},  # type: ignore[arg-type]
        rules={"red": 2},  # type: ignore[arg-type]
    )
    assert (rows_of(ledger.database), ledger.verify().head) == before


# --- by the page and one by one


@pytest.mark.parametrize("tables", [True, False])
def test_a_page_of_computed_signals_says_what_one_by_one_says(opened: Opened, tables: bool) -> None:
    """Whatever is kept of which frames, and whether it is known what each was given."""
    ledger = opened()
    items = [
        judged(f"{i}", *[RED, BLUE, GREEN, unit(1, 2, 3)][i % 4 : i % 4 + 1 + i // 4 % 3], kept=i % 5 != 0)
        for i in range(24)
    ]
    for item in items if tables else ():
        by_frame = BEFORE.shares(
            np.stack([np.frombuffer(e.data, "<f2").astype(np.float32) for e in item.content.scores.embeddings])
            if item.content.scores.embeddings else np.stack([RED] * item.content.frames),
            Source(BEFORE).text_embeddings(),
        )  # fmt: skip
        rows = [FrameScore(i, i, signals={"clip.red": float(share[0])}) for i, share in enumerate(by_frame)]
        object.__setattr__(item.content.scores, "frames", FrameScores.of(rows))
    record(ledger, *items)
    available = frozenset(AFTER.signals)
    policy = Policy(
        "p", {"red": ("clip.red",)}, (Rule("red", {"red": 0.4}, Verdict.BLOCK, second_look=Verdict.REVIEW),)
    )
    rejudge = Rejudge(policy.among(available, AFTER.definitions), available)
    (page,) = ledger.score_pages(rescorer=ConceptRescorer(Source(AFTER)))
    words = rejudge.outcomes(page).words.tolist()
    alone = [rejudge(sha256, page.scores(at)) for at, sha256 in enumerate(page.cells["sha256"])]
    assert words == [UNDECIDED if one is None else one.verdict.rank for one in alone]
    assert page.computed and len(set(words)) > 1


def test_a_page_has_scores_as_they_were_given(opened: Opened) -> None:
    ledger = opened()
    signals = {"b.y": Signal(0.1 + 0.2, 3), "a.x": Signal(1e-7), "c.z": Signal(1.0, 63), 'q"\\': Signal(0.5)}
    record(ledger, judged("a", RED, signals=signals), judged("b", RED, clip=False))
    (seen,) = ledger.score_pages()
    with ledger.database.read() as connection:
        page = score_pages.read_page(connection, 0, None)
        assert page is not None
    for at, sha256 in enumerate(page.cells["sha256"]):
        ((content, judgement, _),) = ledger.contents([sha256]).values()
        assert page.scores(at) == seen.scores(at) == content.scores and page.judgement(at) == judgement
    assert signals.items() <= page.scores(0).signals.items()


def test_fewer_contents_of_many_frames_are_looked_at_together(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_pages, "LOOKED_AT_FRAMES", 7)
    ledger = opened()
    record(ledger, *(judged(f"{i:02}", *[GREEN] * (i % 4), BLUE) for i in range(20)), judged("long", *[BLUE] * 9))
    pages = list(ledger.score_pages())
    assert {len(page) == 1 or sum(page.cells["frames"]) <= 7 for page in pages} == {True}
    assert len(pages) < 21, "as many together as may be"
    assert sorted(sha256 for page in pages for sha256 in page.cells["sha256"]) == sorted(
        sha(key) for key in (*(f"{i:02}" for i in range(20)), "long")
    )


def test_a_page_of_clips_is_worked_on_in_portions(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_pages, "FRAMES_AT_ONCE", 7)
    asked: list[int] = []
    shares = ConceptRescorer.shares

    def counted(self: ConceptRescorer, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(vectors))
        return shares(self, vectors)

    monkeypatch.setattr(ConceptRescorer, "shares", counted)
    ledger = opened()
    record(ledger, *(judged(f"{i:02}", *[GREEN] * (i % 4), BLUE) for i in range(20)))
    redecide(ledger, AFTER)
    assert sum(asked) == 50 and max(asked) <= 7 + 4
    assert [now(ledger, f"{i:02}")[0]["clip.red"].frame for i in range(20)] == [i % 4 for i in range(20)]


def test_a_row_that_nobody_here_wrote_costs_only_its_content(opened: Opened) -> None:
    ledger = opened()
    record(ledger, judged("a", RED, BLUE), judged("b", RED))
    with ledger.database.write() as connection:
        connection.execute(update(table).where(table.c.frame == 1).values(encoding="brotli"))
        connection.execute(insert(embedding_models).values(name="another"))
    assert set(kept(ledger)) == {sha("b")}


@pytest.mark.long
def test_a_ledger_of_the_version_before_gets_the_tables(tmp_path: Path) -> None:
    from alembic import command

    from fedi_safety.ledger.database.sqlite import SqliteDatabase
    from fedi_safety.ledger.migrate import _config

    path = tmp_path / "ledger.db"
    database = SqliteDatabase(path, readonly=False)
    database.prepare()
    config = _config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    database.dispose()
    ledger = open_ledger(path, clock=FakeClock(), keep=Keep.FLOAT16)
    record(ledger, judged("a", RED))
    assert set(kept(ledger)) == {sha("a")}
    ledger.dispose()
