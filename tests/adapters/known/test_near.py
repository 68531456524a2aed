"""Copies that no hash finds: by a copy descriptor, against what was removed here; never more than a review."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.app.engine import open_describer
from fedi_safety.app.known.lists import (
    DISMISSED,
    REMOVED,
    describe,
    find_list,
    keep_dismissals,
    keep_removals,
    remember_dismissal,
)
from fedi_safety.cli.doctor_cmd import _copies
from fedi_safety.config.schema import Clip, Settings
from fedi_safety.config.schema import Known as KnownSettings
from fedi_safety.core.enums import ActKind, MediaType, PlanState, Verdict
from fedi_safety.core.errors import KnownUsageError, ModelError
from fedi_safety.core.known.effects import effects, of_others, signals
from fedi_safety.core.known.types import Effect, Entry, HashKind, Hit, KnownList
from fedi_safety.core.policy import judge
from fedi_safety.core.types import (
    Content,
    Descriptors,
    Frame,
    Hashes,
    Judged,
    Judgement,
    Object,
    Outcome,
    PictureHash,
    Scores,
    Signal,
)
from fedi_safety.detectors.known.examples import check_near
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.judging.messages import ContentWord, result_of
from fedi_safety.judging.types import Answer
from fedi_safety.known.index import descriptors
from fedi_safety.models.importing import import_folder
from fedi_safety.policies import PRESETS, load_policy
from support.descriptor import NAME, write_descriptor
from support.judged_before import World, pdq, sha
from support.stand_in_lists import Pixels, drawn


def frame(pixels: Pixels) -> Frame:
    return Frame(0, pixels.shape[1], pixels.shape[0], np.ascontiguousarray(pixels).tobytes())


ORIGINAL = drawn(1, 400, 300)
CROPPED = ORIGINAL[24:282, 30:376]  # far beyond what PDQ finds
CAPTIONED = np.vstack([np.full((30, 400, 3), 255, np.uint8), ORIGINAL])


POLICY = """
[factors]
red = ["pixels.red"]
alike = ["known.near"]

[[rules]]
name = "like what was removed"
when = { alike = 1.0 }
verdict = "review"
"""


class Place(World):
    """A world with a copy descriptor, and a recognizer over its lists."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        models = folder / "models"
        import_folder(write_descriptor(folder / NAME), models)
        clip = Clip(model_dir=str(models))
        (folder / "policy.toml").write_text(POLICY)
        self.settings: Settings = self.settings.model_copy(update={"clip": clip, "known": KnownSettings(near=NAME)})
        self.known = self.opened()

    def opened(self) -> Known:
        return Known(self.catalog.images(), open_describer(self.settings, choose_device("cpu")))

    def seen(self, key: str, pixels: Pixels, verdict: Verdict = Verdict.CLEAR) -> tuple[int, Object]:
        """Record a content as it is judged and described, before anything like it was removed."""
        (compared,) = self.known.pictures([frame(pixels)])
        assert compared.descriptor is not None
        made = Descriptors(self.known.model, ((0, compared.descriptor),))
        hashes = Hashes(bytes(20), bytes(16), (compared.hash,), made)
        scores = Scores({"pixels.red": Signal(0.1, 0)}, {"pixels": "1"})
        content = Content(sha(key), 9, MediaType.PNG, 400, 300, 1, scores, hashes=hashes)
        obj = Object(key, 9, 1)
        run = self.ledger.begin_run("scan", self.url, {})
        self.ledger.record(run, self.url, [Judged(obj, content, Judgement(verdict, (), (), "before"))])
        return run, obj

    def stands(self, key: str) -> Verdict:
        """Return what stands of a content in the ledger."""
        ((_, judgement, _),) = self.ledger.contents([sha(key)]).values()
        return judgement.verdict

    def removed(self, key: str, pixels: Pixels) -> None:
        """Condemn a content and remove its object, as a scan and `apply` do."""
        run, obj = self.seen(key, pixels, Verdict.BLOCK)
        plans = self.ledger.plan(run, self.url, [(obj, sha(key))], ActKind.DELETE)
        self.ledger.close(run, [Outcome(plan, PlanState.DONE) for plan in self.ledger.start(run, plans)])
        keep_removals(self.settings, self.ledger)

    def said(self, pixels: Pixels) -> dict[str, float]:
        """Return what lists say of a picture."""
        (compared,) = self.known.pictures([frame(pixels)])
        return {name: signal.value for name, signal in signals(effects((), {0: compared.hits})).items()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.known.close()
    made.catalog.close()
    made.ledger.dispose()


def test_what_was_cut_from_a_removed_picture_is_for_review_in_every_preset(place: Place) -> None:
    place.removed("original", ORIGINAL)
    for copy in (CROPPED, CAPTIONED):
        (compared,) = place.known.pictures([frame(copy)])
        (hit,) = compared.hits
        assert (hit.list, hit.kind, hit.entry) == (REMOVED, HashKind.NEAR, f"{sha('original').hex()}@0")
        told = signals(effects((), {0: compared.hits}))
        assert set(told) == {"known.near"} and "removed at distance" in told["known.near"].matches[0].text
        for preset in PRESETS:
            assert judge(load_policy(preset), told).verdict is Verdict.REVIEW, preset
    assert place.said(drawn(2, 400, 300)) == {}


def test_a_no_is_remembered_and_holds_back_no_hash(place: Place) -> None:
    place.removed("original", ORIGINAL)
    place.removed("mistaken", CROPPED)
    place.ledger.dismiss(sha("mistaken"), "harmless")
    keep_removals(place.settings, place.ledger)
    keep_dismissals(place.ledger, place.catalog)
    assert [entry.id for entry in place.catalog.entries(REMOVED)] == [f"{sha('original').hex()}@0"]
    assert HashKind.NEAR in {entry.kind for entry in place.catalog.entries(DISMISSED)}
    assert place.said(CROPPED[4:, 4:]) == {"known.block": 0.0}
    place.catalog.put(KnownList("theirs"), [Entry(HashKind.PDQ, place.known.pictures([frame(ORIGINAL)])[0].hash.pdq)])
    assert place.said(ORIGINAL)["known.block"] == 1.0


def test_what_was_judged_before_is_for_review_once_its_like_is_removed_and_clear_once_that_is_dismissed(
    place: Place,
) -> None:
    """Backwards, from stored descriptors alone: no object is opened, and a person's no wins."""
    for key, pixels in (("cut", CROPPED), ("words", CAPTIONED), ("another", drawn(3, 400, 300))):
        place.seen(key, pixels)
    place.removed("original", ORIGINAL)
    assert [place.stands(key) for key in ("cut", "words", "another")] == [
        Verdict.REVIEW,
        Verdict.REVIEW,
        Verdict.CLEAR,
    ]
    ((removed, _, _),) = place.ledger.contents([sha("original")]).values()
    assert "known.near" not in removed.scores.signals  # that it looks like itself says nothing
    place.ledger.dismiss(sha("original"), "harmless")
    remember_dismissal(place.settings, place.ledger)
    assert place.stands("cut") is Verdict.CLEAR and list(place.catalog.entries(REMOVED)) == []


def test_that_a_content_looks_like_itself_says_nothing_and_that_a_list_has_it_does() -> None:
    own, other = (Hit(REMOVED, Effect.REVIEW, f"{sha(key).hex()}@0", HashKind.NEAR) for key in ("own", "other"))
    listed = replace(own, list="theirs", kind=HashKind.PDQ)
    assert of_others(sha("own"), [own, other, listed]) == [other, listed]


def test_a_dismissed_content_stays_clear_whatever_like_it_is_removed(place: Place) -> None:
    place.seen("cut", CROPPED)
    place.ledger.dismiss(sha("cut"), "harmless")
    place.removed("original", ORIGINAL)
    assert place.stands("cut") is Verdict.CLEAR


def test_what_changes_nothing_compares_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.removed("original", ORIGINAL)
    monkeypatch.setattr(place.ledger, "begin_run", lambda *_: pytest.fail("a run was begun"))
    keep_removals(place.settings, place.ledger)


@pytest.mark.parametrize(("few", "many"), [(1, 3000), (3000, 1), (700, 2100)])
def test_descriptors_that_meet_are_those_of_brute_force_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch, few: int, many: int
) -> None:
    monkeypatch.setattr(descriptors, "_PAIRS", 10_000)
    random = np.random.default_rng(few)
    asked, stored = (random.integers(0, 256, (size, 64), np.uint8) for size in (few, many))
    stored[::97] = asked[0]
    stored[::97, 0] ^= 1
    found = [np.stack(each, axis=1) for each in descriptors.meet(asked, stored, 225)]
    by_force = np.stack([np.bitwise_count(stored ^ one).sum(axis=1, dtype=np.int64) for one in asked])
    expected = {(i, j, by_force[i, j]) for i, j in zip(*np.nonzero(by_force <= 225), strict=True)}
    assert {tuple(row) for row in np.concatenate(found).tolist()} == expected and len(expected) >= many // 97


def test_contents_that_were_hashed_and_not_described_are_read_once_more(place: Place) -> None:
    run, _ = place.seen("cut", CROPPED)
    bare = Content(sha("old"), 9, MediaType.PNG, 1, 1, 1, Scores({}, {}), hashes=Hashes(bytes(20), bytes(16)))
    pictured = replace(bare, sha256=sha("older"), hashes=Hashes(bytes(20), bytes(16), (PictureHash(0, 90, pdq()),)))
    clear = Judgement(Verdict.CLEAR, (), (), "before")
    place.ledger.record(run, place.url, [Judged(Object(c.sha256.hex(), 9, 1), c, clear) for c in (bare, pictured)])
    every = [sha("cut"), sha("old"), sha("older")]
    assert place.ledger.hashed_among(every) == set(every)
    assert place.ledger.hashed_among(every, model=place.known.model) == {sha("cut"), sha("old")}


def test_descriptors_of_another_model_are_compared_with_nothing(place: Place) -> None:
    place.removed("original", ORIGINAL)
    own = find_list(place.catalog, REMOVED)
    assert own is not None and own.effect is Effect.REVIEW
    place.catalog.put(own, [replace(each, category="another") for each in place.catalog.entries(REMOVED)])
    assert place.said(ORIGINAL) == {}
    keep_removals(place.settings, place.ledger)
    assert place.said(ORIGINAL) == {"known.near": 1.0}


def test_a_changed_list_leaves_what_descriptors_said(place: Place) -> None:
    place.removed("original", ORIGINAL)
    (compared,) = place.known.pictures([frame(CROPPED)])
    assert compared.descriptor is not None
    made = Descriptors(place.known.model, ((0, compared.descriptor),))
    said = signals(effects((), {0: compared.hits}))
    hashes = Hashes(bytes(20), bytes(16), (compared.hash,), made)
    content = Content(sha("cut"), 9, MediaType.PNG, 346, 258, 1, Scores(said, {}), hashes=hashes)
    item = Judged(Object("cut", 9, 1), content, Judgement(Verdict.REVIEW, (), (), "before"))
    place.ledger.record(place.ledger.begin_run("scan", place.url, {}), place.url, [item])
    assert place.ledger.hashes_of([sha("cut")])[sha("cut")] == hashes
    applied = place.take(KnownList("theirs"), Entry(HashKind.PDQ, pdq(), "1"))
    assert not applied.moves
    ((stored, _, _),) = place.ledger.contents([sha("cut")]).values()
    assert stored.scores.signals["known.near"].value == 1.0


def test_the_list_of_removals_is_never_given_away(place: Place) -> None:
    place.removed("original", ORIGINAL)
    own = find_list(place.catalog, REMOVED)
    assert own is not None and not own.redistribute
    with pytest.raises(KnownUsageError, match="not given away"):
        describe(place.settings, place.ledger, place.catalog, replace(own, redistribute=True))


def test_without_a_descriptor_no_list_is_made(tmp_path: Path) -> None:
    world = World(tmp_path)
    keep_removals(world.settings, world.ledger)
    assert world.catalog.lists() == () and open_describer(world.settings, choose_device("cpu")) is None
    world.catalog.close()
    world.ledger.dispose()


def test_doctor_and_self_test_see_whether_it_finds_a_part_of_a_picture(place: Place) -> None:
    """What finds nothing, and what takes everything for everything, is told."""
    describer = open_describer(place.settings, choose_device("cpu"))
    assert describer is not None and check_near(describer) == []
    (found,) = _copies(place.settings)
    assert found.ok is True and NAME in found.detail
    for distance, cause in ((0, "was not found within 0 bits"), (512, "stripes are within 512 bits")):
        describer.distance = distance
        assert any(cause in each for each in check_near(describer))
    (off,) = _copies(place.settings.model_copy(update={"known": KnownSettings()}))
    assert off.ok is None and "known.near" in off.detail


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"size": 8}, "size is not"),
        ({"size": 32, "layout": "CHWN"}, "layout not"),
        ({"size": 32, "mean": [0, 0]}, "three numbers"),
        ({"size": 32, "std": [0, 1, 1]}, "not above 0"),
        ([], "no copy descriptor"),
    ],
)
def test_a_folder_that_is_none_is_refused(tmp_path: Path, told: object, cause: str) -> None:
    folder = write_descriptor(tmp_path / "wrong")
    (folder / "config.json").write_text(json.dumps({"copy_descriptor": told}))
    with pytest.raises(ModelError, match=cause):
        import_folder(folder, tmp_path / "models")


def test_a_network_of_another_kind_or_an_altered_one_is_refused(tmp_path: Path) -> None:
    models = tmp_path / "models"
    settings = Settings(clip=Clip(model_dir=str(models)), known=KnownSettings(near="few"))
    path = import_folder(write_descriptor(tmp_path / "few", bits=256), models)
    with pytest.raises(ModelError, match="not 512"):
        open_describer(settings, choose_device("cpu"))
    (path / "visual/model.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="altered"):
        open_describer(settings, choose_device("cpu"))
    with pytest.raises(ModelError, match="no such folder"):
        open_describer(settings.model_copy(update={"known": KnownSettings(near="none")}), choose_device("cpu"))


def test_a_worker_tells_the_gate_what_it_made_and_an_older_one_nothing() -> None:
    hashes = Hashes(bytes(20), bytes(16), (), Descriptors("a model", ((0, bytes(range(64))), (7, bytes(64)))))
    content = Content(bytes(32), 9, MediaType.PNG, 1, 1, 1, Scores({}, {}), hashes=hashes)
    judgement = Judgement(Verdict.CLEAR, (), (), "a policy")
    word = result_of("1", Answer("clear", bytes(32), "a worker", judgement=judgement, content=content)).content
    assert word is not None and word.hashes() == hashes
    told = word.model_dump(mode="json")
    older = {name: value for name, value in told.items() if not name.startswith("descriptor")}
    assert ContentWord.model_validate(older).hashes() == replace(hashes, descriptors=None)
    with pytest.raises(ValueError, match="not rows"):
        ContentWord.model_validate(told | {"descriptors": "AAAA"})
