"""`confirm` of what was sent to review: condemned by a person's word, planned, taken back or carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, program


@pytest.mark.long
def test_what_was_sent_to_review_is_condemned_by_a_word_and_the_word_is_taken_back(tmp_path: Path) -> None:
    store, policy = tmp_path / "store", tmp_path / "faces.toml"
    store.mkdir()
    (store / "face.jpg").write_bytes(jpeg_bytes("astronaut"))
    policy.write_text(FACES.replace('"block"', '"review"'))
    config = tmp_path / "config.toml"
    config.write_text(f'store = "{store}"\nledger = "{tmp_path / "ledger.db"}"\npolicy = "{policy}"\nact = "delete"\n')
    given = "--config", str(config)
    assert program("scan", "--dry-run", *given).code == 0
    said = program("confirm", "face.jpg", "--reason", "a colleague knows it", *given)
    assert (said.code, f"planned in file://{store}: delete 1, when somebody asks" in said.out) == (0, True), said.out
    assert "condemned by a person" in program("show", "face.jpg", *given).out
    assert "the word is taken back" in program("confirm", "--undo", "face.jpg", *given).out
    assert "nobody confirmed it" in program("confirm", "--undo", "face.jpg", *given).out
    assert program("apply", "--yes", *given).code == 0
    assert (store / "face.jpg").exists(), "its plan was dropped with the word"
    assert program("confirm", "face.jpg", *given).code == 0
    assert program("apply", "--yes", *given).code == 0
    assert not (store / "face.jpg").exists()
    (store / "again.jpg").write_bytes(jpeg_bytes("astronaut"))
    again = program("scan", *given)
    assert (again.code, (store / "again.jpg").exists()) == (0, False), "a copy is known by its bytes"
    assert program("ledger", "verify", *given).code == 0
