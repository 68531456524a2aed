"""The tests' hub is one: the hub's own library, which is no part of the program's code path, fetches from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.servers.hub import hub_server


@pytest.mark.long
def test_the_hubs_own_library_fetches_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    import huggingface_hub

    source = tmp_path / "source"
    (source / "visual").mkdir(parents=True)
    (source / "config.json").write_text('{"embed_dim": 8}')
    (source / "visual/model.onnx").write_bytes(bytes(range(256)) * 200)
    for number in range(6):
        (source / f"visual/weight{number}").write_bytes(bytes([number]) * 5000)
    with hub_server() as hub:
        repository = hub.add("someone/some-model", source)
        first = repository.find("main")
        repository.commit({"config.json": b"{}"})
        got = huggingface_hub.snapshot_download(
            "someone/some-model", revision=first, endpoint=hub.endpoint, local_dir=tmp_path / "got", token=False
        )
        for path in source.rglob("*"):
            if path.is_file():
                assert (Path(got) / path.relative_to(source)).read_bytes() == path.read_bytes()
        assert any(where.startswith("store ") for where, _ in hub.seen)
        with pytest.raises(huggingface_hub.errors.RevisionNotFoundError):
            huggingface_hub.snapshot_download(
                "someone/some-model", revision="gone", endpoint=hub.endpoint, local_dir=tmp_path / "none", token=False
            )
        with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
            huggingface_hub.snapshot_download(
                "someone/other", endpoint=hub.endpoint, local_dir=tmp_path / "none", token=False
            )
