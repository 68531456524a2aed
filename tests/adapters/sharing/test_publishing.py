"""What an instance publishes, and what never leaves it; the log as a whole, and whose key signs it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fedi_safety.app.sharing import publishing
from fedi_safety.app.sharing.publishing import open_log
from fedi_safety.config.locations import sharing_folder
from fedi_safety.core.errors import SharingError, SharingUsageError
from fedi_safety.core.known.types import Entry as Listed
from fedi_safety.core.known.types import HashKind, KnownList
from fedi_safety.sharing.change import LIFE_S, Entry, KeyChange, Kind, Retraction, Word, read_change
from fedi_safety.sharing.log import HEAD_S, PAGE, Log, Wanted
from fedi_safety.sharing.minisign import PublicKey
from fedi_safety.sharing.signed import split
from fedi_safety.sharing.subscribers import Subscribers
from support.judged_before import md5, pdq, sha
from support.shared import Instance, snapshot_of, verified

AT = 1_800_000_000.0


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path / "one", "one.example")
    yield made
    made.end()


def log_of(folder: Path, at: list[float] | None = None) -> Log:
    now = at or [AT]
    numbers = count(1)
    return Log(folder, now=lambda: now[0], random=lambda size: next(numbers).to_bytes(size, "big"))


def wanted(value: bytes, content: bytes = b"c" * 32, since: int = int(AT), **how: object) -> Wanted:
    told = {"kind": "pdq", "clip": "", "type": Kind.RECOMMENDATION, "verdict": Word.CONDEMNED, "category": ""} | how
    return Wanted(hash=value.hex(), content=content, quality=80, seen=0, since=since, **told)  # type: ignore[arg-type]


# --- what is published


def test_only_what_was_removed_here_and_confirmed_is_published(one: Instance) -> None:
    picture = pdq()
    one.removed("mine", [picture])
    one.removed("unconfirmed", [pdq()], confirmed=False)
    one.condemned("not removed", [pdq()])
    dismissed = one.removed("dismissed", [pdq()])
    one.ledger.dismiss(dismissed, "")
    done = one.publish()
    assert (done.done.added, done.done.entries, dict(done.contents)) == (2, 2, {"recommendation": 1})
    assert dict(done.left_out) == {"no person confirmed it": 1}
    found = verified(open_log(one.settings))
    assert {(each.kind, each.hash) for each in found if isinstance(each, Entry)} == {
        ("sha256", sha("mine").hex()), ("pdq", picture.hex()),
    }  # fmt: skip
    assert all(each.category == "red-circle" and each.type == "recommendation" for each in found)  # type: ignore[union-attr]
    assert one.publish().done.added == 0


def test_what_a_list_led_to_is_never_published_and_what_was_before_stays(one: Instance) -> None:
    early, late = pdq(), pdq()
    one.removed("early", [early])
    assert one.publish().done.added == 2
    one.removed("late", [late])
    one.take(KnownList("theirs"), Listed(HashKind.PDQ, early, "1"), Listed(HashKind.PDQ, late, "2"))
    done = one.publish()
    assert (done.done.added, done.done.retracted, done.done.entries) == (0, 0, 2)
    assert list(done.left_out) == ["a list has it, so that it is not this instance's own word"]


def test_a_second_rule_of_the_operators_lets_a_models_word_out_as_an_advisory(tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(
        '[factors]\nred = ["pixels.red"]\n[[rules]]\nname = "very red"\nwhen = { red = 0.9 }\nverdict = "block"\n'
    )
    one = Instance(tmp_path / "one", "one.example", unconfirmed=str(strict))
    one.removed("very red", [pdq()], confirmed=False, red=0.95)
    one.removed("rather red", [pdq()], confirmed=False, red=0.6)
    confirmed = one.removed("confirmed", [pdq()], red=0.1)
    done = one.publish()
    assert dict(done.contents) == {"advisory": 1, "recommendation": 1}
    kinds = {each.hash: each.type for each in verified(open_log(one.settings)) if isinstance(each, Entry)}
    assert kinds[confirmed.hex()] == "recommendation" and kinds[sha("very red").hex()] == "advisory"
    assert sha("rather red").hex() not in kinds
    one.ledger.confirm(sha("very red"), "", "a person")
    assert one.publish().done.renewed == 2
    one.end()


def test_a_no_later_takes_it_back(one: Instance) -> None:
    sha256 = one.removed("mine", [pdq()])
    one.publish()
    one.ledger.dismiss(sha256, "a cat")
    assert (one.publish().done.retracted, one.publish().done.retracted) == (2, 0)
    assert [type(each) for each in verified(open_log(one.settings))] == [Entry, Entry, Retraction, Retraction]


def test_what_moves_is_listed_as_a_clip_and_what_shows_little_is_left_out(one: Instance) -> None:
    frames = [pdq() for _ in range(4)]
    clip = one.removed("clip", [*frames, frames[0]], moves=True)
    short = one.removed("short", [pdq(), pdq()], moves=True)
    one.removed("dull", [pdq()], quality=49)
    one.removed("blank", [bytes(31) + b"\1"])
    one.removed("bare and opaque", [pdq(), pdq(), pdq()])
    one.publish()
    found = [each for each in verified(open_log(one.settings)) if isinstance(each, Entry)]
    by_kind = {kind: {each.hash for each in found if each.kind == kind} for kind in ("md5", "sha256", "pdq")}
    assert by_kind["md5"] == {md5("clip").hex(), md5("short").hex()}
    assert len(by_kind["sha256"]) == 5
    assert {each.clip for each in found if each.hash in {frame.hex() for frame in frames}} == {clip.hex()}
    assert len([each for each in found if each.kind == "pdq" and not each.clip]) == 3
    assert short.hex() not in {each.clip for each in found}


def test_a_dry_run_publishes_nothing_and_counts_the_same(one: Instance) -> None:
    one.publish()
    one.removed("mine", [pdq()])
    before = open_log(one.settings).state()
    dry = one.publish(dry_run=True)
    assert open_log(one.settings).state() == before
    assert one.publish().done == dry.done


# --- the log


def test_entries_end_after_two_years_unless_they_are_confirmed_again(tmp_path: Path) -> None:
    now = [AT]
    log = log_of(tmp_path, now)
    log.create("a.example")
    one, other = pdq(), pdq()
    log.publish([wanted(one), wanted(other)])
    now[0] += LIFE_S / 2
    again = int(now[0])
    done = log.publish([wanted(one, since=again), wanted(other)])
    assert (done.renewed, done.added) == (1, 0)
    now[0] = AT + LIFE_S
    done = log.publish([wanted(one, since=again), wanted(other)])
    assert (done.entries, done.retracted, done.added) == (1, 0, 0)
    _, body = split(snapshot_of(log))
    assert [read_change(line).hash for line in body.split(b"\n")[1:-1]] == [one.hex()]  # type: ignore[union-attr]


@pytest.mark.long
def test_a_log_is_handed_out_by_the_page_and_signed_anew_each_time(tmp_path: Path) -> None:
    now = [AT]
    log = log_of(tmp_path, now)
    log.create("a.example")
    values = [number.to_bytes(32, "big") for number in range(PAGE + 5)]
    log.publish(wanted(value) for value in values)
    state = log.state()
    assert state is not None and state.seq == PAGE + 5
    assert log.page(0, state.seq).count(b"\n") == PAGE
    assert log.page(PAGE, state.seq).count(b"\n") == 5
    assert log.page(PAGE + 5, state.seq) == b""
    assert log.page(0, 3).count(b"\n") == 3
    now[0] += 86_400
    log.publish(wanted(value) for value in values)
    later = log.state()
    assert later is not None and (later.seq, later.link) == (state.seq, state.link)
    assert later.expires == state.expires + 86_400 == int(now[0]) + HEAD_S
    assert len(list(tmp_path.glob("snapshot-*"))) == 1


def test_a_process_that_ends_amid_a_publication_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(tmp_path)
    log.create("a.example")
    log.publish([wanted(pdq())])
    before = log.state()

    def fails() -> Iterator[Wanted]:
        yield wanted(pdq())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log.publish(fails())
    with monkeypatch.context() as patched:
        patched.setattr("fedi_safety.sharing.log.signed_head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            log.publish([wanted(pdq())])
    assert log.state() == before
    assert len(verified(log)) == 1
    log.publish([wanted(pdq())])
    assert len(list(tmp_path.glob("snapshot-*"))) == 1
    assert len(verified(log)) == 3


def test_a_key_is_changed_by_a_change_that_the_old_one_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(tmp_path)
    before = log.create("a.example")
    log.publish([wanted(pdq())])
    after = log.change_key()
    assert after.key != before.key
    *_, change = verified(log)
    assert isinstance(change, KeyChange) and change.key == after.key
    assert change.is_signed_by(PublicKey.of_text(before.key))
    log.publish([])
    assert len(verified(log)) == 3
    assert not (tmp_path / "key.new").exists()
    with monkeypatch.context() as patched:  # killed between naming the new key and putting it into the old one's place
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.change_key()
    assert log.publish([wanted(pdq())]).added == 1
    assert len(verified(log)) == 5


def test_without_its_key_nothing_is_signed_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    state = log.create("a.example")
    (tmp_path / "key").rename(tmp_path / "elsewhere")
    with pytest.raises(SharingUsageError, match=r"not there; bring it back from a backup; if it is lost, .*--new-log"):
        log.publish([wanted(pdq())])
    (tmp_path / "key").write_text("nonsense")
    with pytest.raises(SharingUsageError, match="no minisign secret key"):
        log.publish([wanted(pdq())])
    assert log.state() == state
    place = log.set_aside()
    assert (place / "log.sqlite").exists() and log.state() is None
    fresh = log.create("a.example")
    assert fresh.key != state.key


def test_everything_is_its_owners_alone(one: Instance) -> None:
    one.publish()
    Subscribers(sharing_folder(one.settings), now=time.time).add("two")
    folder = sharing_folder(one.settings)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o077 for p in folder.iterdir() if not p.name.startswith("snapshot")} == {0}


def test_a_log_that_is_damaged_or_somebody_elses_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(SharingError, match=r"log.sqlite: is damaged, or another program's"):
        log_of(tmp_path).state()


def test_a_list_needs_a_name_and_keeps_it(tmp_path: Path) -> None:
    one = Instance(tmp_path / "one", "one.example")
    nameless = one.settings.model_copy(update={"sharing": type(one.settings.sharing)()})
    with pytest.raises(SharingUsageError, match="set `name` in"):
        publishing.begun(nameless, open_log(nameless))
    one.publish()
    other = one.settings.model_copy(update={"sharing": type(one.settings.sharing)(name="two.example")})
    with pytest.raises(SharingUsageError, match=r"published as one.example"):
        publishing.begun(other, open_log(other))
    assert publishing.begun(nameless, open_log(nameless)).name == "one.example"
    with pytest.raises(SharingUsageError, match="is not fit"):
        log_of(tmp_path / "x").create("Two Words")
    one.end()


# --- subscribers


def test_a_token_is_seen_once_kept_as_a_hash_and_can_be_taken_back(tmp_path: Path) -> None:
    now = [AT]
    those = Subscribers(tmp_path, now=lambda: now[0])
    assert those.holder("fss_x") is None and those.all() == []
    token, other = those.add("two"), those.add("three")
    assert token not in b"".join(path.read_bytes() for path in tmp_path.glob("subscribers*")).decode("latin-1")
    assert (those.holder(token), those.holder(other)) == ("two", "three")
    assert those.holder(None) is None and those.holder("") is None and those.holder(token + "x") is None
    with pytest.raises(SharingUsageError, match="has a token already"):
        those.add("two")
    now[0] += 5
    those.holder(token)
    assert [(each.name, each.requests, each.asked_s) for each in those.all()] == [("three", 1, AT), ("two", 2, AT + 5)]
    those.revoke("two")
    assert those.holder(token) is None
    with pytest.raises(SharingUsageError, match="has no token"):
        those.revoke("two")
    assert those.holder(those.add("two")) == "two" and those.holder(token) is None
    with pytest.raises(SharingUsageError, match="printable"):
        those.add("\n")
