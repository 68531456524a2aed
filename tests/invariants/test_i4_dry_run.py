"""I4: a dry run is the real run without the acts; its plan can be applied later; it hides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import FACES, FIRST, digests, program


def fill(media: Path) -> None:
    media.mkdir()
    for i, name in enumerate(["astronaut", "coffee", "chelsea", "rocket", "astronaut"]):
        (media / f"{i}.jpg").write_bytes(jpeg_bytes(name, size=400 + 10 * i))
    (media / "notes.txt").write_text("notes")


@pytest.mark.long
def test_plan_of_the_dry_run_equals_what_the_real_run_removes(tmp_path: Path) -> None:
    policy = tmp_path / "faces.toml"
    policy.write_text(FACES)
    for name in ("dry", "real"):
        fill(tmp_path / name)
    dry_args = ("scan", str(tmp_path / "dry"), "--policy", str(policy), "--ledger", str(tmp_path / "dry.db"))
    real_args = ("scan", str(tmp_path / "real"), "--policy", str(policy), "--ledger", str(tmp_path / "real.db"))
    before = digests(tmp_path / "dry")
    dry = program(*dry_args, "--dry-run", "--json").json
    assert digests(tmp_path / "dry") == before
    real = program(*real_args, *FIRST, "--json").json
    removed = set(before) - set(digests(tmp_path / "real"))
    assert removed == {"0.jpg", "4.jpg"}
    rows = program("list", "--act", "planned", "--json", "--ledger", str(tmp_path / "dry.db")).lines
    assert {row["key"] for row in rows} == removed
    same = ("listed", "judged", "skipped", "unscanned", "clear", "review", "block", "planned", "frames", "bytes")
    assert {k: dry[k] for k in same} == {k: real[k] for k in same}
    # Applied later, or scanned for real later: the same files go, and no dry run has hidden one.
    later = program(*dry_args, "--act", "delete", "--json").json
    assert later["acted"] == 2
    assert digests(tmp_path / "dry") == digests(tmp_path / "real")
