"""The act `purge` for files of a pict-rs, with a store and a pict-rs in memory, and how acts are chosen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from fedi_safety.acts.purge import Purge, PurgeUnavailable, RemovePurging, keys_beside
from fedi_safety.app.acts import ACTS, ActRow, act_for, acts_for
from fedi_safety.clients.pictrs import PictrsClient, hash_of, slug_of
from fedi_safety.clients.pictrs_database import Owner, PictrsDatabase
from fedi_safety.config.schema import Seal, Settings
from fedi_safety.core.enums import ACT_WORDS, ActKind, PlanState, Reason, act_word
from fedi_safety.core.errors import UsageError
from fedi_safety.core.ports import Act
from fedi_safety.core.types import Object, Outcome, Plan, Removal
from support.fakes import FakeStore
from support.sealing import NO_SEALS, public

CONTENT = b"condemned"
SHA256 = hashlib.sha256(CONTENT).digest()
HASH = hash_of(SHA256, len(CONTENT), 7)
OTHER = hash_of(hashlib.sha256(b"original").digest(), 8, 7)


class FakePictrs:
    """Pictures by hash with their aliases. A purge takes effect at once and calls `on_purge`."""

    def __init__(self, pictures: dict[str, list[str]]) -> None:
        self.pictures = pictures
        self.on_purge: Callable[[], None] = lambda: None
        self.purged: list[str] = []
        self.down = False

    def client(self) -> PictrsClient:
        return PictrsClient("http://pictrs.test", "key", transport=httpx.MockTransport(self.answer), pause_s=0)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        path, params = request.url.path, request.url.params
        owner = next((h for h, aliases in self.pictures.items() if params.get("alias") in aliases), None)
        if path == "/internal/hashes":
            hit = next((h for h in self.pictures if slug_of(h) == params["slug"]), next(iter(self.pictures), None))
            hashes = [] if hit is None else [{"hex": hit, "aliases": self.pictures[hit]}]
            return httpx.Response(200, json={"msg": "ok", "page": {"hashes": hashes}})
        if path == "/internal/purge" and owner is not None:
            self.purged.append(owner)
            aliases = self.pictures.pop(owner)
            self.on_purge()
            return httpx.Response(200, json={"msg": "ok", "aliases": aliases})
        if path == "/internal/identifier" and owner is not None:
            return httpx.Response(200, json={"msg": "ok", "identifier": "01/8e/file.png"})
        if request.method == "HEAD":
            there = any(path.rpartition("/")[2] in aliases for aliases in self.pictures.values())
            return httpx.Response(200 if there else 404)
        return httpx.Response(404)


class FakeDatabase(PictrsDatabase):
    """Knows one file."""

    def __init__(self, owner: Owner | None, files: tuple[str, ...] = ()) -> None:
        super().__init__("")
        self._owner = owner
        self._files = files

    def owner(self, identifiers: object) -> Owner | None:
        assert isinstance(identifiers, list)
        return self._owner if self._owner is not None and self._owner.identifier in identifiers else None

    def files(self, picture_hash: str) -> tuple[str, ...]:
        return self._files

    def origins(self, aliases: object) -> tuple[str, ...]:
        return ("https://elsewhere.test/picture.png",)


KEY = "files/01/8e/file.png"


@pytest.fixture
def store() -> FakeStore:
    return FakeStore({KEY: CONTENT, "other": b"harmless"})


def plan_of(store: FakeStore, key: str = KEY, sha256: bytes = SHA256) -> Plan:
    return Plan(1, store.describe(key), sha256, ActKind.PURGE, PlanState.STARTED)


def outcome_of(store: FakeStore, pictrs: FakePictrs, plan: Plan, database: PictrsDatabase | None = None) -> Outcome:
    outcome = Purge(store, pictrs.client, database, file_gone_s=0).perform(plan)
    assert outcome.plan is plan
    return outcome


def perform(
    store: FakeStore, pictrs: FakePictrs, plan: Plan, database: PictrsDatabase | None = None
) -> tuple[PlanState, str]:
    outcome = outcome_of(store, pictrs, plan, database)
    return outcome.state, outcome.detail


def test_the_picture_of_the_file_is_purged_and_the_file_is_gone(store: FakeStore) -> None:
    pictrs = FakePictrs({OTHER: ["x.png"], HASH: ["a.png", "b.png"]})
    pictrs.on_purge = lambda: store.objects.clear()
    state, detail = perform(store, pictrs, plan_of(store))
    assert state is PlanState.DONE
    assert pictrs.purged == [HASH]
    for word in ("a.png", "b.png", "01/8e/file.png", "its file is gone"):
        assert word in detail
    assert store.removed == [], "it never unlinks"


def test_a_file_that_stays_is_a_failed_act(store: FakeStore) -> None:
    state, detail = perform(store, FakePictrs({HASH: ["a.png"]}), plan_of(store))
    assert state is PlanState.FAILED
    assert "still in the store" in detail


def test_what_was_not_judged_is_left_alone(store: FakeStore) -> None:
    pictrs = FakePictrs({HASH: ["a.png"]})
    plan = plan_of(store, sha256=hashlib.sha256(b"something else").digest())
    assert perform(store, pictrs, plan)[0] is PlanState.CHANGED
    store.failing[KEY] = Reason.CHANGED
    assert perform(store, pictrs, plan_of(store))[0] is PlanState.CHANGED
    store.failing[KEY] = Reason.UNREADABLE
    assert perform(store, pictrs, plan_of(store))[0] is PlanState.FAILED
    assert pictrs.purged == []


def test_a_file_that_is_gone_has_its_record_purged_all_the_same(store: FakeStore) -> None:
    pictrs = FakePictrs({HASH: ["a.png"], OTHER: ["x.png"]})
    plan = plan_of(store)
    del store.objects[KEY]
    assert perform(store, pictrs, plan)[0] is PlanState.DONE
    assert pictrs.purged == [HASH]
    assert perform(store, pictrs, plan)[0] is PlanState.GONE


def test_an_orphan_or_variant_fails_with_a_remedy(store: FakeStore) -> None:
    pictrs = FakePictrs({OTHER: ["x.png"]})
    state, detail = perform(store, pictrs, plan_of(store))
    assert state is PlanState.FAILED
    assert "pictrs.database" in detail
    state, detail = perform(store, pictrs, plan_of(store), FakeDatabase(None))
    assert state is PlanState.FAILED
    assert "orphan" in detail
    assert "--act delete" in detail
    assert pictrs.purged == []
    assert KEY in store.objects


def test_the_database_finds_the_original_of_a_variant(store: FakeStore) -> None:
    pictrs = FakePictrs({HASH[::-1].lower(): ["z.png"], OTHER: ["x.png"]})
    pictrs.on_purge = lambda: store.objects.clear()
    database = FakeDatabase(Owner(OTHER, "01/8e/file.png", "variant"))
    state, detail = perform(store, pictrs, plan_of(store), database)
    assert state is PlanState.DONE
    assert pictrs.purged == [OTHER]
    assert "variant of" in detail
    assert "https://elsewhere.test/picture.png" in detail


@pytest.mark.parametrize("stays", [False, True])
def test_what_pictrs_knew_is_kept_as_data(store: FakeStore, stays: bool) -> None:
    pictrs = FakePictrs({HASH: ["a.png", "b.png"]})
    pictrs.on_purge = lambda: None if stays else store.objects.clear()
    outcome = outcome_of(store, pictrs, plan_of(store), FakeDatabase(None))
    assert outcome.state is (PlanState.FAILED if stays else PlanState.DONE)
    assert outcome.receipt == {
        "picture": HASH,
        "aliases": ("a.png", "b.png"),
        "identifier": "01/8e/file.png",
        "origins": ("https://elsewhere.test/picture.png",),
    }


class Keeping(FakeStore):
    """A store that keeps a version of what others remove, until it is told."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.hidden: dict[str, bytes] = {}

    def hide(self, *keys: str) -> None:
        for key in keys:
            self.hidden[key] = self.objects.pop(key)

    def remove(self, obj: Object, sha256: bytes) -> Removal:
        if obj.key in self.refusing:
            return Removal(PlanState.FAILED, "refused")
        if hashlib.sha256(self.hidden.get(obj.key, b"")).digest() == sha256:
            del self.hidden[obj.key]
            return Removal(PlanState.DONE, "gone")
        return super().remove(obj, sha256)


FILES = ("01/8e/file.png", "01/8f/small.webp", "01/90/motion.jpeg", "01/91/never.stored")


def kept_files(lead: str) -> Keeping:
    return Keeping({lead + FILES[0]: CONTENT, lead + FILES[1]: b"small", lead + FILES[2]: b"motion", "other": b"x"})


@pytest.mark.parametrize("lead", ["", "files/"])
def test_versions_of_all_the_picture_s_files_go_too(lead: str) -> None:
    store = kept_files(lead)
    pictrs = FakePictrs({HASH: ["a.png"]})
    pictrs.on_purge = lambda: store.hide(*(lead + file for file in FILES[:3]))
    state, detail = perform(store, pictrs, plan_of(store, lead + FILES[0]), FakeDatabase(None, FILES))
    assert state is PlanState.DONE
    assert store.hidden == {} and store.objects == {"other": b"x"}
    assert "with 2 thumbnails or variants" in detail and "older versions of 3 included" in detail


def test_a_version_that_cannot_be_removed_fails_the_act_and_spares_no_other() -> None:
    store = kept_files("")
    store.refusing.add(FILES[0])
    pictrs = FakePictrs({HASH: ["a.png"]})
    pictrs.on_purge = lambda: store.hide(*FILES[:2])
    state, detail = perform(store, pictrs, plan_of(store, FILES[0]), FakeDatabase(None, FILES))
    assert state is PlanState.FAILED
    assert "older versions of 01/8e/file.png may be left" in detail
    assert "01/90/motion.jpeg is still in the store" in detail
    assert set(store.hidden) == {FILES[0]}


def test_what_an_interrupted_purge_left_hidden_is_removed_by_the_next() -> None:
    store = kept_files("")
    plan = plan_of(store, FILES[0])
    store.hide(FILES[0])
    assert perform(store, FakePictrs({OTHER: ["x.png"]}), plan)[0] is PlanState.DONE
    assert store.hidden == {}


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("01/8e/a", ["01/8f/b", "02/c"]),
        ("srv/files/01/8e/a", ["srv/files/01/8f/b", "srv/files/02/c"]),
        ("8e/a", ["8f/b"]),  # the store begins at 01/, and what lies outside it cannot be reached
        ("a", []),
        ("elsewhere", []),
        ("x01/8e/a", []),
    ],
)
def test_where_a_picture_s_other_files_lie(key: str, keys: list[str]) -> None:
    assert keys_beside(key, ["01/8e/a", "01/8f/b", "02/c"]) == keys


def test_an_original_with_another_content_is_not_the_judged_one(store: FakeStore) -> None:
    pictrs = FakePictrs({OTHER: ["x.png"]})
    database = FakeDatabase(Owner(OTHER, "01/8e/file.png", "original"))
    assert perform(store, pictrs, plan_of(store), database)[0] is PlanState.FAILED
    assert pictrs.purged == []


def test_a_pictrs_that_is_down_fails_the_act_and_no_more(store: FakeStore) -> None:
    pictrs = FakePictrs({HASH: ["a.png"]})
    pictrs.down = True
    state, detail = perform(store, pictrs, plan_of(store))
    assert state is PlanState.FAILED
    assert "Connection refused" in detail
    assert KEY in store.objects


class Named(FakeStore):
    """A fake store with a URL of its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


class Pictures(Named):
    """A fake store that a pict-rs owns."""

    default_act = ActKind.PURGE
    owner = "http://host"

    def __init__(self) -> None:
        super().__init__("pictrs+http://host")


def settings(act: str | None = None, url: str | None = None) -> Settings:
    return Settings.model_validate({"act": act, "pictrs": {"url": url, "api_key": "key"}})


def test_acts_are_chosen_by_store_and_settings() -> None:
    own, files = Pictures(), Named("file:///files")
    acts = acts_for(settings(), own, NO_SEALS)
    assert isinstance(acts[ActKind.PURGE], RemovePurging)
    assert acts[ActKind.PURGE].kind is ActKind.PURGE
    assert act_for(settings(), own) is ActKind.PURGE
    assert act_for(settings(), files) is ActKind.DELETE
    assert isinstance(acts_for(settings("purge", "http://host"), files, NO_SEALS)[ActKind.PURGE], Purge)
    # A plan of an earlier configuration fails by name instead of breaking the run.
    unavailable = acts_for(settings(), files, NO_SEALS)[ActKind.PURGE]
    assert isinstance(unavailable, PurgeUnavailable)
    store = FakeStore({KEY: CONTENT})
    outcome = unavailable.perform(plan_of(store))
    assert outcome.state is PlanState.FAILED
    assert "pictrs.url" in outcome.detail


def test_every_act_has_a_row_and_a_word() -> None:
    assert ACTS.keys() == set(ActKind)
    assert (*(kind.value for kind in ActKind), "report") == ACT_WORDS
    sealing = {"seal": Seal(recipients=(public(),), vault="s3://vault")}
    for word in ACT_WORDS:
        chosen = settings(word, "http://host").model_copy(update=sealing)
        assert act_word(act_for(chosen, Named("file:///files"))) == word
    assert act_for(settings("report"), Pictures()) is None


class Noting:
    """An act that notes something down and then has another one done."""

    kind = ActKind.PURGE

    def __init__(self, then: Act) -> None:
        self._then = then

    def perform(self, plan: Plan) -> Outcome:
        outcome = self._then.perform(plan)
        return replace(outcome, receipt={**outcome.receipt, "noted": plan.object.key})


def test_an_act_that_has_another_one_done_is_a_row(monkeypatch: pytest.MonkeyPatch, store: FakeStore) -> None:
    row = ActRow(lambda settings, store, seals: Noting(ACTS[ActKind.DELETE].open(settings, store, seals)))
    monkeypatch.setitem(ACTS, ActKind.PURGE, row)
    assert act_for(settings("purge"), store) is ActKind.PURGE
    outcome = acts_for(settings("purge"), store, NO_SEALS)[ActKind.PURGE].perform(plan_of(store))
    assert (outcome.state, outcome.receipt) == (PlanState.DONE, {"noted": KEY})
    assert store.removed == [KEY]


def test_purge_without_a_pictrs_is_refused_where_it_is_chosen() -> None:
    with pytest.raises(UsageError) as caught:
        act_for(settings("purge"), Named("file:///files"))
    assert "pictrs.url" in caught.value.line()
    assert act_for(settings("purge"), Pictures()) is ActKind.PURGE


def test_delete_under_a_configured_pictrs_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Named("file:///some/files")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            acts_for(settings(None, "http://host"), store, NO_SEALS)
        acts_for(settings("purge", "http://host"), Named("file:///purged"), NO_SEALS)
        acts_for(settings(), Named("file:///unrelated"), NO_SEALS)
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["file"]
    assert "pict-rs will not know" in caplog.records[0].getMessage()
