"""I2: what could not be read, fetched, decoded or judged is unscanned, and never removed because of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedi_safety.core.decide import BreakerLimits
from fedi_safety.core.enums import Reason
from support.corpus.media_zoo import bad, not_media
from support.fakes import FakeStore
from support.passes import RED, RED_CIRCLE, Bench
from support.program import FIRST, digests, program
from support.share import examples

# Condemns every picture that is judged at all.
EVERYTHING = """\
[factors]
any = ["nsfw.open_nsfw"]
[[rules]]
name = "everything"
when = { any = 0.0000000001 }
verdict = "block"
"""


@pytest.mark.long
def test_under_a_policy_that_condemns_everything_damaged_files_stay(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    # One of the zoo's is only bad for a decoder that is told the wrong type; a scan tells it by its content.
    samples = [sample.data for sample in bad() if sample.name != "another format than told"]
    samples += not_media().values()
    for i, data in enumerate(samples):
        (media / f"{i:03d}").write_bytes(data)
    policy = tmp_path / "everything.toml"
    policy.write_text(EVERYTHING)
    before = digests(media)
    done = program("scan", str(media), "--policy", str(policy), *FIRST, "--resume-acts", "--json")
    assert done.code == 1, done
    without = [*done.json["unscanned"].values(), *done.json["skipped"].values()]
    assert sum(without) == len(samples) > 10 and done.json["unscanned"] and done.json["skipped"]
    assert (done.json["judged"], done.json["acted"]) == (0, 0)
    assert digests(media) == before


objects = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.sampled_from([RED, RED_CIRCLE, b"text", *(b"bad " + r.value.encode() for r in Reason)]),
    min_size=1,
    max_size=12,
)


@pytest.mark.long
@settings(max_examples=examples(40))
@given(objects=objects, failing=st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.sampled_from(Reason)))
def test_whatever_fails_only_judged_contents_are_removed(objects: dict[str, bytes], failing: dict[str, Reason]) -> None:
    """Any mixture of damage: exactly the readable red circles go, and every object is accounted for (I5)."""
    import tempfile

    store = FakeStore(objects)
    store.failing = {key: reason for key, reason in failing.items() if key in objects}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder) / "ledger.db", store, limits=BreakerLimits(max_removed_share=1, max_unscanned_share=1)
        )
        tally, _ = bench.scan()
        condemned = {key for key, data in objects.items() if data == RED_CIRCLE and key not in store.failing}
        assert set(store.removed) == condemned
        assert set(store.objects) == set(objects) - condemned
        assert tally.accounted
        assert tally.listed == len(objects)
        bench.close()
