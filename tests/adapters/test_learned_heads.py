"""Learned heads as files and as signals: what is written comes back, what was altered is refused, what fits is used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedi_safety.concepts import Concept, ConceptSet, definitions_in
from fedi_safety.concepts.learned import Head, head_path, load_heads, read_head, write_head
from fedi_safety.concepts.reading import configured_concepts
from fedi_safety.config.schema import Clip
from fedi_safety.core.errors import ConfigError
from fedi_safety.detectors.clip.detector import ClipConcepts
from fedi_safety.detectors.clip.folder import plan_model
from fedi_safety.detectors.sessions.devices import choose_device
from support.tiny_clip import make_model_folder

HEAD = Head("mine", "net fp32 sha256:aa", (0.5, -1.25, 3.0), -0.125, "2026-11-29", {"dismissed": 20}, {"folds": 5})
CONCEPTS = ConceptSet("c", (Concept("red", ("red",), ("blue",)),))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_head(path)
    assert str(path) in caught.value.line()
    return caught.value.line()


# --- files


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "learned/mine.json"
    write_head(path, HEAD)
    assert read_head(path) == HEAD and read_head(path).definition == HEAD.definition
    assert load_heads(["mine"], path.parent) == load_heads([str(path)], tmp_path) == (HEAD,)
    assert [p.name for p in path.parent.iterdir()] == ["mine.json"]
    document = json.loads(path.read_text())
    assert (document["model"], document["contents"], document["signal"]) == (
        HEAD.model,
        {"dismissed": 20},
        "learned.mine",
    )


def test_every_byte_of_a_file_is_vouched_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    write_head(path, HEAD)
    data = path.read_bytes()
    for old, new in ((b"0.5", b"0.6"), (b"sha256:aa", b"sha256:ab"), (b": 20", b": 21"), (b"11-29", b"11-30")):
        assert old in data
        path.write_bytes(data.replace(old, new, 1))
        assert "altered" in refusal(path)
    for cut in (0, 1, len(data) // 2):
        path.write_bytes(data[:cut])
        assert "no learned head" in refusal(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "a recipe"},
        {"format": 2},
        {"weights": []},
        {"weights": "none"},
        {"weights": [0.5, None]},
        {"weights": [True]},
        {"weights": [1e300]},
        {"bias": "0"},
        {"model": ""},
        {"name": "../x"},
        {"contents": []},
        {"cross_validation": None},
    ],
)
def test_a_file_with_a_right_digest_and_wrong_parts_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    from fedi_safety.concepts.learned import _body, _digest

    body = {**_body(HEAD), **damage}
    (tmp_path / "x.json").write_text(json.dumps({**body, "sha256": _digest(body)}))
    assert "no learned head" in refusal(tmp_path / "x.json") or "damaged" in refusal(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"[]", b"nan", b"\xff\xfe", b"[" * 100_000, b"0" * 5_000_000])
def test_any_other_file_is_no_head(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert "no learned head" in refusal(tmp_path / "x.json")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.json")
    assert "cannot be read" in refusal(tmp_path)
    write_head(tmp_path / "a.json", HEAD)
    with pytest.raises(ConfigError, match="named twice"):
        load_heads(["a", str(tmp_path / "a.json")], tmp_path)


@pytest.mark.parametrize("name", ["", "A", "a b", "é", "a" * 41, "a.b"])
def test_names_are_those_of_signals(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learned\.NAME"):
        head_path(name, tmp_path)


# --- signals


def test_a_heads_signal_is_the_logistic_beside_the_concepts_shares() -> None:
    texts = np.eye(3, dtype=np.float32)[:2]
    pictures = np.array([[1, 0, 0], [0, 0.6, 0.8], [0, 0, -1]], np.float32)
    both = replace(CONCEPTS, heads=(HEAD, replace(HEAD, name="other", bias=500.0)))
    found = both.shares(pictures, texts)
    assert both.signals == ("clip.red", "learned.mine", "learned.other")
    assert found[:, :1] == pytest.approx(CONCEPTS.shares(pictures, texts))
    logits = pictures @ np.array(HEAD.weights) + HEAD.bias
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    assert (found[:, 2] == 1.0).all() and math.isfinite(found.sum())


def test_a_detectors_version_names_its_heads_and_other_numbers_are_another_definition() -> None:
    both = replace(CONCEPTS, heads=(HEAD, replace(HEAD, name="other")))
    assert definitions_in(f"1.0 ViT fp32 sha256:ab {both.id}") == both.definitions
    assert "learned" not in CONCEPTS.id
    changed = [
        replace(HEAD, bias=0.0),
        replace(HEAD, weights=(0.5, -1.25, 3.5)),
        replace(HEAD, model="net int8 sha256:bb"),
    ]
    assert len({each.definition for each in (HEAD, *changed)}) == 4
    assert replace(HEAD, learned_on="", contents={}).definition == HEAD.definition


def test_a_head_serves_the_network_that_it_was_learned_from_and_no_other(tmp_path: Path) -> None:
    plan = plan_model(make_model_folder(tmp_path / "m"), choose_device("cpu"), "fp32")
    right = Head("mine", plan.name, (0.0,) * plan.folder.dim, 0.0)
    assert "learned.mine" in ClipConcepts(plan, replace(CONCEPTS, heads=(right,)), 1, None).signals
    for wrong in (replace(right, model="net fp32 sha256:aa"), replace(right, weights=(0.0,))):
        with pytest.raises(ConfigError) as caught:
            ClipConcepts(plan, replace(CONCEPTS, heads=(wrong,)), 1, None)
        assert "learned head 'mine'" in caught.value.line() and plan.name in caught.value.line()


def test_the_configured_heads_are_beside_the_configured_concepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("FEDI_SAFETY_ROOT", str(tmp_path / "none"))
    write_head(tmp_path / "fedi-safety/learned/mine.json", HEAD)
    load: Callable[[Clip], ConceptSet] = configured_concepts
    assert load(Clip()).heads == ()
    assert load(Clip(learned=["mine"])).signals[-1] == "learned.mine"
