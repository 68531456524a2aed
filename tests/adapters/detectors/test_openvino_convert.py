"""Large graphs in OpenVINO's own format: made once by a child process, mapped afterwards, refused when altered."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fedi_safety.detectors.sessions import openvino
from fedi_safety.detectors.sessions.openvino import OpenVino
from fedi_safety.detectors.sessions.openvino_convert import converted
from support.tiny_clip import make_model_folder


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(openvino, "SMALLEST", 1)
    return make_model_folder(tmp_path / "tiny") / "visual/model.onnx"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(graph: Path, cache: Path | None, key: str = "one") -> OpenVino:
    return OpenVino(graph, "CPU", "fp32", 1, "", cache=cache, key=key)


BATCH = np.random.default_rng(0).random((5, 3, 16, 16), np.float32)


@pytest.mark.long
def test_a_converted_graph_answers_as_the_graph_itself(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = opened(graph, None)
    first = opened(graph, cache)
    assert first._weights is not None
    monkeypatch.setattr(
        "fedi_safety.detectors.sessions.openvino_convert.subprocess.run", None
    )  # the second time nothing is converted
    second = opened(graph, cache)
    for each in (first, second):
        assert np.array_equal(each.run(BATCH), plain.run(BATCH))
        assert np.array_equal(each.run(BATCH[:2]), plain.run(BATCH[:2])), "after the pages were given back"
        assert (each.input, each.outputs) == (plain.input, plain.outputs)


@pytest.mark.long
def test_another_content_takes_the_place_of_the_first(graph: Path, cache: Path) -> None:
    opened(graph, cache, "one")
    (before,) = cache.iterdir()
    opened(graph, cache, "two")
    (after,) = cache.iterdir()
    assert before != after


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file", ["graph.bin", "graph.xml"])
def test_what_was_altered_is_made_anew(graph: Path, cache: Path, caplog: pytest.LogCaptureFixture, file: str) -> None:
    expected = opened(graph, cache).run(BATCH)
    (place,) = cache.iterdir()
    data = (place / file).read_bytes()
    (place / file).write_bytes(data.replace(data[-8:], bytes(8)))
    assert np.array_equal(opened(graph, cache).run(BATCH), expected)
    assert "altered; made anew" in caplog.text
    assert (place / file).read_bytes() == data


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file", ["graph.bin", "graph.xml", "record.json"])
def test_what_is_half_there_is_made_anew(graph: Path, cache: Path, file: str) -> None:
    expected = opened(graph, cache).run(BATCH)
    (place,) = cache.iterdir()
    (place / file).unlink()
    found = opened(graph, cache)
    assert found._weights is not None
    assert np.array_equal(found.run(BATCH), expected)


def test_a_place_that_takes_nothing_costs_memory_only(
    graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = opened(graph, tmp_path / "file" / "cache")
    assert found._weights is None
    assert found.run(BATCH).shape == (5, 8)
    assert "could not be converted for OpenVINO" in caplog.text


def test_a_graph_that_cannot_be_converted_says_so_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no graph")
    with caplog.at_level(logging.WARNING):
        assert converted(bad, "key", tmp_path / "cache") is None
    (record,) = caplog.records
    assert "Traceback" not in record.getMessage() and "could not be converted" in record.getMessage()
    assert list((tmp_path / "cache").iterdir()) == []
