"""Waiting uploads: what, since when and why; a reviewer has one judged at once, and only what still waits."""

from __future__ import annotations

from pathlib import Path

from fedi_safety.core.ledger.uploads import Move, Told, UploadNote, UploadState
from support.reviewing import form_of, reviewing, send

NOW = 1_800_000_000.0


def note(upload: str, state: UploadState, **more: object) -> UploadNote:
    return UploadNote(upload, NOW, "pict-rs", state, "deadline", "gate", bytes(32), 9, "image/png", **more)  # type: ignore[arg-type]


def test_what_waits_is_shown_and_asked_for_again(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        told = Told(file_name="<script>cat.png")
        run = here.ledger.begin_run("gate", "", {})
        here.ledger.record_uploads(run, [], [
            note("owed", UploadState.OWED, detail="no worker", told=told), note("held", UploadState.HELD),
            note("bad", UploadState.CONDEMNED), note("refused", UploadState.REFUSED),
        ])  # fmt: skip
        here.ledger.record_uploads(run, [], [], [Move("owed"), Move("owed")])
        reviewer, viewer = here.signed_in("reviewer"), here.signed_in("viewer")
        page = reviewer.get("/review/uploads").text
        for said in ("Not judged yet", "Condemned since", "Not to be judged by this version", "no worker", "deadline",
                     "tried 2 times, last", "never tried since", "&lt;script&gt;cat.png"):  # fmt: skip
            assert said in page, said
        assert page.count("Judge it now") == 2
        assert "Judge it now" not in viewer.get("/review/uploads").text
        for upload in ("owed", "held"):
            assert send(reviewer, "uploads/again", form_of(page, "uploads/again", upload=upload)).status_code == 303
        waiting = {one.note.upload: one for one in here.ledger.untried_entries(UploadState.OWED, 9)}
        assert {name: (one.tries, one.tried_at) for name, one in waiting.items()} == {
            "owed": (0, None),
            "held": (0, None),
        }
        here.ledger.record_uploads(run, [], [], [Move("owed", UploadState.SETTLED, "clear")])
        for upload in ("owed", "bad", "refused", "nobody's", ""):
            late = send(reviewer, "uploads/again", form_of(page, "uploads/again", upload="owed") | {"upload": upload})
            assert (late.status_code, "does not wait any more" in late.text) == (409, True)


def test_where_nothing_waits_the_page_says_so(tmp_path: Path) -> None:
    with reviewing(tmp_path) as here:
        assert "Nothing waits here." in here.signed_in("viewer").get("/review/uploads").text
