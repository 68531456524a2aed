"""I1: what leaves the machine says how many and by which rules: no key, no name that a stranger chose, no picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedi_safety.app.notices.conditions import kind_of
from fedi_safety.core.enums import ActKind
from fedi_safety.core.errors import StoreError, StoreUsageError
from fedi_safety.core.ledger.notices import Channel, NoticeState
from fedi_safety.core.notices.text import Told, as_json, words
from fedi_safety.core.notices.transitions import Condition, Transition
from support.fakes import FakeStore
from support.passes import RED_CIRCLE, Bench

STRANGERS = "a-name-that-somebody-chose"


def test_no_message_of_a_pass_has_a_key_a_hash_or_a_link(tmp_path: Path) -> None:
    store = FakeStore({f"{STRANGERS}/{n}.png": RED_CIRCLE + b" n=%d" % n for n in range(3)})
    bench = Bench(tmp_path / "ledger.db", store, channels=[Channel("json://a.example", frozenset(Transition))])
    bench.scan(act=ActKind.DELETE)
    found = bench.ledger.notices(tuple(NoticeState), 99)
    assert {notice.transition for notice in found} == {Transition.CONDEMNED, Transition.REMOVED}
    hashes = [row.sha256.hex() for row in bench.rows() if row.sha256 is not None]
    assert len(hashes) == 3
    for notice in found:
        told = Told(notice.transition, notice.about, notice.count, notice.rules, notice.detail)
        said = words(told, number=notice.id)
        text = json.dumps(as_json(told, said, number=notice.id, again=True, name="n", at=0.0)) + str(said)
        for secret in (STRANGERS, ".png", *hashes, "http"):
            assert secret not in text
    bench.close()


def test_of_an_error_its_kind_is_told_and_not_its_words() -> None:
    for error in (
        StoreError(f"sftp://host/{STRANGERS}", f"cannot read {STRANGERS}", STRANGERS),
        StoreUsageError(STRANGERS, STRANGERS),
        ValueError(STRANGERS),
    ):
        assert STRANGERS not in kind_of(error) and kind_of(error)


@pytest.mark.parametrize("transition", list(Transition))
def test_every_change_has_words_and_a_command(transition: Transition) -> None:
    for about in ("", "file:///srv/a b"):
        said = words(Told(transition, about, 2, {"a rule": 2}, "why"), number=1, again=True, name="cats")
        assert said.title.startswith("cats: fedi-safety: ") and "{" not in said.title + said.text
        assert said.further.startswith("fedi-safety ") and said.further in said.text
        assert "(notice 1)" in said.text and "sent again" in said.text


def test_every_condition_has_words_for_its_end() -> None:
    for condition in Condition:
        text = words(Told(Transition.WELL_AGAIN, detail=condition.value)).text
        assert (
            "It is over: " in text
            and "what was told before" not in text
            and condition.value not in text.split("Look")[0]
        )
