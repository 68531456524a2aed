"""One contract, the same cases over every action that a kind of server offers; a last test counts them.

The servers are on loopback and answer as the real ones' types allow (support/servers/moderated.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from fedi_safety.actions import KINDS, ModeratorKind, kind_of, open_moderator, switched_on
from fedi_safety.config.schema import Trace
from fedi_safety.core.errors import ModerationDown, ModerationError, ModerationGone, TraceUsageError
from fedi_safety.core.moderation import ActionState, AppAction, Offer, Standing, TargetKind, mark_of
from fedi_safety.core.ports import Moderator
from fedi_safety.tracing import KINDS as TRACERS
from support.cases import Ran
from support.servers import moderated as servers
from support.servers.moderated import TOKEN, Asked, Moderated, Reply, moderated

CASES: list[str] = []


@dataclass(frozen=True, slots=True)
class Harness:
    """How a kind of server is tried: how it answers, and what it holds at first. `blind`: actions whose target it does
    not show to everybody, so that only doing tells that it is gone.
    """

    answers: Callable[[Moderated, Asked], Reply]
    holds: dict[str, Any]
    ids: dict[TargetKind, str]
    blind: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()  # what this version does not offer
    lasting: frozenset[str] = field(default_factory=lambda: frozenset({"domain_block"}))  # cannot be gone


_LEMMY_IDS = {TargetKind.POST: "11", TargetKind.COMMENT: "12", TargetKind.PERSON: "13", TargetKind.FILE: "a.png"}
_LEMMY = {
    "posts": {"11": {"removed": False, "deleted": False}},
    "comments": {"12": {"removed": False, "deleted": False, "post_id": 11}},
    "people": {"13": {"banned": False}},
    "files": {"a.png"},
}
_ACCOUNT = {"silenced": False, "suspended": False, "sensitized": False}
_MASTODON_IDS = {
    TargetKind.POST: "21",
    TargetKind.ACCOUNT: "22",
    TargetKind.PERSON: "22",
    TargetKind.INSTANCE: "far.example",
}
HARNESSES = {
    "lemmy 0.19": Harness(
        servers.lemmy19, _LEMMY, _LEMMY_IDS, frozenset({"delete_image"}), without=frozenset({"delete_image"})
    ),
    "lemmy 1.0": Harness(servers.lemmy10, _LEMMY, _LEMMY_IDS, frozenset({"delete_image"})),
    "mastodon": Harness(
        servers.mastodon, {"people": {"22": _ACCOUNT}}, _MASTODON_IDS, lasting=frozenset({"domain_block", "report"})
    ),
    "misskey": Harness(
        servers.misskey,
        {"files": {"f1"}, "people": {"u1": {"suspended": False}}},
        {TargetKind.FILE: "f1", TargetKind.PERSON: "u1"},
    ),
    "pixelfed": Harness(servers.pixelfed, {"posts": {"31": {}}}, {TargetKind.POST: "31"}, frozenset({"moderate"})),
}


def kind_named(harness: str) -> ModeratorKind:
    kind = kind_of(harness.split()[0])
    assert kind is not None
    return kind


OFFERED = [
    pytest.param(name, offer, id=f"{name} {offer.name} {offer.target}")
    for name, harness in HARNESSES.items()
    for offer in kind_named(name).offers
    if offer.name not in harness.without
]


def case(test: Callable[..., None]) -> Callable[..., None]:
    CASES.append(test.__name__)
    marked: Callable[..., None] = pytest.mark.parametrize(("name", "offer"), OFFERED)(test)
    return marked


@dataclass
class Tried:
    """A server with a moderator for it, and the action that is tried."""

    server: Moderated
    moderator: Moderator
    action: AppAction
    harness: Harness

    def standing(self) -> Standing:
        return self.moderator.standing(self.action, within_s=5)

    def perform(self) -> None:
        self.moderator.perform(self.action, within_s=5)


@pytest.fixture
def tried(name: str, offer: Offer, request: pytest.FixtureRequest, ran: Ran) -> Iterator[Tried]:
    import copy

    harness = HARNESSES[name]
    with moderated(harness.answers) as server:
        for what, held in copy.deepcopy(harness.holds).items():
            setattr(server, what, held)
        moderator = opened(name, server.url)
        target_id = harness.ids[offer.target]
        about = harness.ids.get(TargetKind.PERSON)
        action = AppAction(
            1, bytes(range(32)), "file:///srv", moderator.name, offer.name, offer.target, target_id, None, about,
            ActionState.STARTED, 1,
        )  # fmt: skip
        yield Tried(server, moderator, action, harness)
        moderator.close()
        moderator.close()
    if request.function.__name__ in CASES:
        ran.note(request.node.callspec.id, request.function.__name__)


def opened(name: str, url: str, token: str = TOKEN) -> Moderator:
    kind = kind_named(name)
    access = Trace(server=kind.servers[0], url=url, token=SecretStr(token), actions=kind.actions)
    return open_moderator(access, url, "social.example")


@case
def test_it_is_done_once_and_read_back(tried: Tried, name: str, offer: Offer) -> None:
    assert tried.standing() is Standing.OPEN
    assert tried.server.writes == [], "reading changes nothing"
    tried.perform()
    assert tried.standing() in (Standing.SO, Standing.GONE)
    assert len(tried.server.writes) == 1


@pytest.mark.sampled(3)
@case
def test_another_process_finds_it_done(tried: Tried, name: str, offer: Offer) -> None:
    tried.perform()
    other = opened(name, tried.server.url)
    if offer.name in tried.harness.blind:
        with pytest.raises(ModerationGone):
            other.perform(tried.action, within_s=5)
    else:
        assert other.standing(tried.action, within_s=5) in (Standing.SO, Standing.GONE)
    other.close()


@pytest.mark.sampled(3)
@case
def test_what_is_gone_is_gone_and_no_error(tried: Tried, name: str, offer: Offer) -> None:
    for held in (tried.server.posts, tried.server.comments, tried.server.people, tried.server.files):
        held.clear()
    if offer.name in tried.harness.lasting:
        assert tried.standing() is Standing.OPEN
    elif offer.name in tried.harness.blind:
        with pytest.raises(ModerationGone):
            tried.perform()
    else:
        assert tried.standing() is Standing.GONE


@pytest.mark.sampled(3)
@case
def test_a_token_that_is_not_known_is_said_without_it(tried: Tried, name: str, offer: Offer) -> None:
    wrong = opened(name, tried.server.url, "another-s3cret")
    for ask in (wrong.standing, wrong.perform):
        with pytest.raises(ModerationDown) as caught:
            ask(tried.action, within_s=5)
        assert "s3cret" not in str(caught.value)
        assert "token" in str(caught.value)
    wrong.close()


@pytest.mark.sampled(3)
@case
def test_a_refusal_of_one_is_no_word_about_others(tried: Tried, name: str, offer: Offer) -> None:
    tried.standing()  # which asks for the version first
    tried.server.answer = lambda _asked: (403, {"error": "not_an_admin"})
    with pytest.raises(ModerationError) as caught:
        tried.perform()
    assert not isinstance(caught.value, ModerationDown)
    assert "may not" in str(caught.value)


@pytest.mark.sampled(8)
@case
def test_a_server_that_is_not_there_or_hangs_is_down_in_time(tried: Tried, name: str, offer: Offer) -> None:
    nowhere = opened(name, "http://127.0.0.1:9")
    with pytest.raises(ModerationDown):
        nowhere.perform(tried.action, within_s=2)
    nowhere.close()
    given_up = threading.Event()
    tried.server.answer = lambda _asked: (200, {"late": given_up.wait(30)})
    began = time.monotonic()
    with pytest.raises(ModerationError):
        tried.moderator.standing(tried.action, within_s=0.1)
    assert time.monotonic() - began < 10  # a third of what the server takes
    given_up.set()


@pytest.mark.sampled(8)
@case
def test_an_answer_that_says_nothing_is_not_believed(tried: Tried, name: str, offer: Offer) -> None:
    tried.perform()
    tried.server.answer = lambda _asked: (200, {"surprise": True})
    if tried.action.target is TargetKind.FILE or offer.name == "moderate":
        assert tried.standing() is Standing.OPEN  # it is there: whatever answers 200 to its address shows something
        return
    with pytest.raises(ModerationError):
        tried.standing()


@pytest.mark.sampled(8)
@case
def test_no_redirect_is_followed_with_the_token(tried: Tried, name: str, offer: Offer) -> None:
    tried.server.answer = lambda _asked: (302, {})
    with pytest.raises(ModerationError):
        tried.perform()


@pytest.mark.long
def test_every_case_ran_for_every_action(ran: Ran) -> None:
    if not (counts := ran.counts()):
        pytest.skip("cases were chosen by name")
    assert counts == dict.fromkeys((str(param.id) for param in OFFERED), len(CASES))


def test_what_can_be_acted_on_can_be_traced() -> None:
    traced = {word for tracer in TRACERS for word in tracer.servers}
    assert {word for kind in KINDS for word in kind.servers} <= traced


def test_every_kind_has_a_harness_and_words_of_its_own() -> None:
    assert {name.split()[0] for name in HARNESSES} == {kind.name for kind in KINDS}
    words = [word for kind in KINDS for word in kind.servers]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_bytes_come_before_posts_and_posts_before_people(kind: ModeratorKind) -> None:
    order = list(TargetKind)
    ranks = [(order.index(offer.target) if offer.target.needs_person else 0) for offer in kind.offers]
    assert ranks == sorted(ranks)
    files = [place for place, offer in enumerate(kind.offers) if offer.target is TargetKind.FILE]
    assert files == list(range(len(files)))
    names = [offer.name for offer in kind.offers]
    if "report" in names:
        assert all(names.index("report") < names.index(name) for name in names if name.endswith("_post"))


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"actions": ("report",)}, "no server is named"),
        (
            {"actions": ("burn",), "server": "mastodon"},
            "use some of: report, sensitive, silence, suspend, domain_block",
        ),
        ({"actions": ("report",), "server": "pleroma"}, "nothing can be done through pleroma"),
        ({"actions": ("report",), "server": "mastodon"}, "set `trace.url` and `trace.token`"),
        ({"actions": ("report",), "server": "mastodon", "url": "https://a.example"}, "set `trace.url` and"),
    ],
)
def test_what_there_is_not_is_refused_at_once(access: dict[str, object], said: str) -> None:
    with pytest.raises(TraceUsageError) as caught:
        switched_on(Trace.model_validate(access))
    assert said in str(caught.value)


def test_what_is_switched_on_is_in_the_order_of_doing_whatever_the_order_of_words() -> None:
    access = Trace(
        server="lemmy", url="https://a.example", token=SecretStr("t"), actions=("ban", "purge_post", "report")
    )
    assert [offer.name for offer in switched_on(access)] == ["report", "report", "purge_post", "ban"]
    assert switched_on(Trace(server="lemmy")) == ()


def test_a_report_says_by_whom_and_of_which_content_and_a_domain_keeps_its_severity() -> None:
    with moderated(servers.mastodon) as server:
        server.people = {"22": dict(_ACCOUNT)}
        server.blocks = [{"id": str(9 - n), "domain": f"d{n}.example", "severity": "noop"} for n in range(5)]
        moderator = opened("mastodon", server.url)
        report = AppAction(
            1, bytes(32), "s", moderator.name, "report", TargetKind.POST, "21", None, "22", ActionState.STARTED
        )
        moderator.perform(report, within_s=5)
        (made,) = server.reports
        assert (made["category"], made["status_ids"], made["forward"]) == ("legal", ["21"], False)
        assert mark_of(report) in made["comment"]
        block = AppAction(
            2, bytes(32), "s", moderator.name, "domain_block", TargetKind.INSTANCE, "d4.example", None, None,
            ActionState.STARTED,
        )  # fmt: skip
        assert moderator.standing(block, within_s=5) is Standing.OPEN
        moderator.perform(block, within_s=5)
        assert moderator.standing(block, within_s=5) is Standing.SO
        assert server.blocks[-1] == {"id": "5", "domain": "d4.example", "severity": "noop", "reject_media": True}
        moderator.close()
