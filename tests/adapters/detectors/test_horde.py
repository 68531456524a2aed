"""The detector `horde`, with a stand-in that has the library's interface. The real one brings torch and weights."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from fedi_safety.core.enums import Reason
from fedi_safety.core.errors import ConfigError, ModelError, Unscannable, UsageError
from fedi_safety.core.types import Evidence, Frame
from fedi_safety.detectors import signals_of
from fedi_safety.detectors.horde import Horde, use_new_safety
from fedi_safety.detectors.sessions.devices import CPU_PROVIDER, DeviceChoice
from support.detectors import opened, settings_for

CPU = DeviceChoice("cpu", (CPU_PROVIDER,), "test")
RED, BLUE, GREY = (250, 0, 0), (0, 0, 250), (128, 128, 128)


@dataclass
class Library:
    """What the stand-in was asked, and what it answers: red is condemned, blue is only sexual."""

    asked: list[dict[str, Any]]
    devices: list[Any]
    failure: Exception | None = None
    silent: bool = False

    def judge(self, image: Image.Image) -> tuple[bool, bool]:
        if self.failure is not None:
            raise self.failure
        pixel = image.getpixel((0, 0))
        return pixel == RED, pixel in (RED, BLUE)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Install modules with the functions of horde-safety 0.3 that are called."""
    stand_in = Library([], [])

    def get_interrogator_no_blip(clip_model_name: str = "ViT-L-14/openai", device: str | None = None) -> str:
        stand_in.devices.append(device)
        return "interrogator"

    def get_deep_danbooru_model(model_path: str = "", device: str = "cpu") -> str:
        stand_in.devices.append(device)
        return "danbooru"

    def check_for_csam(
        interrogator: str,
        image: Image.Image,
        prompt: str,
        model_info: dict[str, Any] | None = None,
        *,
        nsfw_checker: object = None,
    ) -> tuple[bool, dict[str, float], dict[str, list[Any]]]:
        warnings.warn("check_for_csam is deprecated", DeprecationWarning, stacklevel=2)
        asked = {"how": "legacy", "interrogator": interrogator, "size": image.size, "prompt": prompt}
        stand_in.asked.append(asked | {"model_info": model_info})
        csam, nsfw = stand_in.judge(image)
        return csam, {}, {"found_uc": [{}] if csam else [], "found_lewd": [{}] if nsfw else []}

    class NSFWChecker:
        def __init__(self, interrogator: str, deep_danbooru_model: str | None) -> None:
            self.parts = (interrogator, deep_danbooru_model)

        def check_for_nsfw(
            self, image: Image.Image, prompt: str | None = None, model_info: dict[str, Any] | None = None
        ) -> object:
            asked = {"how": "new", "parts": self.parts, "size": image.size, "prompt": prompt, "model_info": model_info}
            stand_in.asked.append(asked)
            csam, nsfw = stand_in.judge(image)
            return None if stand_in.silent else types.SimpleNamespace(is_csam=csam, is_nsfw=nsfw, is_anime=False)

    functions: dict[str, dict[str, Callable[..., Any]]] = {
        "horde_safety": {},
        "horde_safety.interrogate": {"get_interrogator_no_blip": get_interrogator_no_blip},
        "horde_safety.deep_danbooru_model": {"get_deep_danbooru_model": get_deep_danbooru_model},
        "horde_safety.csam_checker": {"check_for_csam": check_for_csam},
        "horde_safety.nsfw_checker_class": {"NSFWChecker": NSFWChecker},
    }
    for name, contents in functions.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    yield stand_in


def evidence(colour: tuple[int, int, int], width: int = 768, height: int = 576) -> Evidence:
    return Evidence(Frame(0, width, height, bytes(colour) * (width * height)))


@pytest.mark.parametrize("new", [True, False])
def test_the_librarys_verdict_is_the_signal(library: Library, new: bool) -> None:
    detector = Horde(CPU, new)
    found = detector.score([evidence(RED), evidence(BLUE), evidence(GREY)])
    assert [dict(scored.signals) for scored in found] == [
        {"horde.csam": 1.0, "horde.nsfw": 1.0},
        {"horde.csam": 0.0, "horde.nsfw": 1.0},
        {"horde.csam": 0.0, "horde.nsfw": 0.0},
    ]
    assert set(found[0].signals) == set(detector.signals) == signals_of(settings_for("horde"))
    assert [asked["how"] for asked in library.asked] == ["new" if new else "legacy"] * 3
    assert ("new" if new else "legacy") in detector.version


@pytest.mark.parametrize("new", [True, False])
def test_pictures_go_in_as_the_predecessor_gave_them(library: Library, new: bool) -> None:
    Horde(CPU, new).score([evidence(GREY), evidence(GREY, 100, 80)])
    assert [asked["size"] for asked in library.asked] == [(512, 384), (100, 80)]
    assert all(asked["prompt"] == "" for asked in library.asked)
    assert all(asked["model_info"] == {"nsfw": True, "tags": []} for asked in library.asked)
    assert library.devices == (["cpu", "cpu"] if new else ["cpu"])


def test_it_runs_on_the_gpu_that_was_chosen(library: Library) -> None:
    Horde(DeviceChoice("cuda", ("CUDAExecutionProvider", CPU_PROVIDER), "test"), True)
    assert library.devices == ["cuda", "cuda"]


@pytest.mark.parametrize(
    ("value", "new"), [(None, True), ("", True), ("true", True), ("1", True), ("False", False), ("off", False)]
)
def test_the_predecessors_variable_chooses_the_checker(
    library: Library, monkeypatch: pytest.MonkeyPatch, value: str | None, new: bool
) -> None:
    if value is None:
        monkeypatch.delenv("USE_NEW_SAFETY", raising=False)
    else:
        monkeypatch.setenv("USE_NEW_SAFETY", value)
    (detector,) = opened("horde")
    detector.score([evidence(GREY)])
    assert library.asked[0]["how"] == ("new" if new else "legacy")


def test_a_variable_that_says_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match="USE_NEW_SAFETY: 'perhaps' is neither true nor false"):
        use_new_safety("perhaps")


def test_without_the_library_the_extra_is_named() -> None:
    assert importlib.util.find_spec("horde_safety") is None
    with pytest.raises(ModelError, match=r"horde-safety is not installed; install the extra `horde`"):
        opened("horde")


@pytest.mark.parametrize("new", [True, False])
def test_a_library_that_fails_gives_no_verdict(library: Library, new: bool) -> None:
    """The predecessor took a failure for a hit."""
    detector = Horde(CPU, new)
    library.failure = OSError("truncated\nsecond line")
    with pytest.raises(Unscannable, match="horde-safety failed") as caught:
        detector.score([evidence(RED)])
    assert caught.value.reason is Reason.DETECTOR_FAILED and "second line" not in caught.value.detail


def test_no_answer_is_no_verdict(library: Library) -> None:
    detector = Horde(CPU, True)
    library.silent = True
    with pytest.raises(Unscannable, match="gave no answer"):
        detector.score([evidence(RED)])


def test_a_library_that_does_not_start_is_one_line(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_options: object) -> None:
        raise RuntimeError("cannot fetch weights\nlong story")

    monkeypatch.setattr(sys.modules["horde_safety.interrogate"], "get_interrogator_no_blip", broken)
    with pytest.raises(ModelError, match="does not start") as caught:
        Horde(CPU, True)
    assert "long story" not in caught.value.line()


def test_there_is_no_device_for_it_by_another_name(library: Library) -> None:
    with pytest.raises(UsageError):
        opened("horde", device="abacus")
