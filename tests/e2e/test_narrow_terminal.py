"""At 80 columns, where most terminals and every pipe are: what must be copied stands on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.corpus.photos import jpeg_bytes
from support.program import program


@pytest.mark.long
def test_no_stores_url_is_broken_over_lines(tmp_path: Path) -> None:
    """Of several stores with long names, one of which failed; in the report and in what doctor and a scan say."""
    ledger = str(tmp_path / "ledger.db")
    urls = []
    for name in ("a" * 60, "b" * 60):
        store = tmp_path / name / ("c" * 20)
        store.mkdir(parents=True)
        (store / "coffee.jpg").write_bytes(jpeg_bytes("coffee", size=200))
        assert program("scan", str(store), "--dry-run", "--ledger", ledger, env={"COLUMNS": "80"}).code == 0
        urls.append(store.as_uri())
    said = program("report", "--ledger", ledger, env={"COLUMNS": "80"}).out
    for url in urls:
        assert len(url) > 80 and said.count(url) >= 2, said
    joined = said.replace("\n", "").replace(" ", "")
    assert all(joined.count(url) == said.count(url) for url in urls), "one of them is broken over lines"
