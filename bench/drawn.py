"""How well drawings are told from photographs by what can be counted in them: by corpus, with faces, and disguised.

The pictures are those of `./dev bench benign`. What a picture is, is told by its corpus and its path; nobody looks at
it. Every share is that of a classifier which was trained without the packages by the same hand. It is no part of the
program: docs/decisions/0073 has why.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.benign_corpora import Gathered, gather, read_manifest, taken_by
from bench.benign_page import rate, table
from bench.corpus import default_work
from bench.drawn_statistics import statistics
from bench.measure import machine, machine_line, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedi_safety.core.errors import FediSafetyError
from fedi_safety.core.types import Evidence, Frame
from fedi_safety.detectors.embedded.nudenet import FACES, NudeNet
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.media import SandboxDecoder, sniff

SEED = 14
BOUND = 0.95
LEAST_PX = 48  # of the shorter side of what is looked at
AROUND = 2.0  # what is looked at around a face: so many times its longer side
MOST = 250  # of each corpus
UNTOLD = 60  # of what nobody can tell, of each corpus
LONGEST_PX = 1000
DRAWN, PHOTOGRAPH, OTHER = "drawn", "photograph", "other"
KINDS = {
    "people": PHOTOGRAPH,
    "photographs": PHOTOGRAPH,
    "galleries": PHOTOGRAPH,
    "clip-art": DRAWN,
    "game-art": DRAWN,
    "emoji": DRAWN,
    "novels": DRAWN,
}
# Paths say more than corpora: drawings among photographs, and what nobody can tell by its name.
BY_PATH = (
    ("*/cartoon/*", DRAWN),
    ("*/symbols/shapes/*", DRAWN),
    ("*/alphabets/*", DRAWN),
    ("*/illustrations/*", DRAWN),
    ("*/curved-images/*", OTHER),
    ("*/nature/*.jpg", PHOTOGRAPH),
    ("scikit-image/*", OTHER),  # micrographs, renderings, textures
)
# Packages by one hand share pictures, so that they are held out together.
HANDS = {
    "material-dashboard": "creative-tim",
    "material-kit": "creative-tim",
    "soft-ui-design-system": "creative-tim",
    "renpy-demo": "renpy",
    "renpy-thequestion": "renpy",
}
PLAIN = ("as it is", "JPEG", "small", "part")  # what happens to pictures on their way
KNOWN = ("on a page", "GIF 256", "posterised 3", "median")  # changes that are trained on
EVERY = 4  # of so many photographs one is changed in all ways; the others in one that is trained on


@dataclass(frozen=True, slots=True)
class Row:
    """One view of a picture: of which corpus, kind and hand, how it was changed, and its statistics.

    `faces` are those of the surroundings of each face that NudeNet found in the picture as it is; None where one of
    them tells nothing.
    """

    corpus: str
    kind: str
    hand: str
    change: str
    numbers: NDArray[np.float32]
    faces: tuple[NDArray[np.float32], ...] | None = ()


def kind_of(corpus: str, name: str) -> str:
    """Return what a picture is, as far as its path tells."""
    return next((kind for pattern, kind in BY_PATH if taken_by(name, [pattern])), KINDS.get(corpus, OTHER))


# --- changes ----------------------------------------------------------------------------------------------------------
def again(image: Image.Image, kind: str, **how: Any) -> Image.Image:
    """Return a picture as a codec leaves it."""
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    with Image.open(BytesIO(buffer.getvalue())) as read:
        return read.convert("RGB")


def fitted(image: Image.Image, longest_px: int) -> Image.Image:
    """Return a picture that is no larger than that."""
    copy = image.copy()
    copy.thumbnail((longest_px, longest_px), Image.Resampling.BICUBIC)
    return copy


def on_a_page(image: Image.Image, seed: random.Random) -> Image.Image:
    """Return a screenshot of a page that shows the picture among lines of text."""
    share = seed.uniform(0.45, 0.75)
    width, height = int(image.width / share), int(image.height / share)
    paper = seed.choice([(255, 255, 255), (20, 22, 28), (246, 247, 249), (0, 0, 0), (54, 57, 63)])
    page = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(page)
    for y in range(10, height, 28):
        ink = (255 - paper[0], 255 - paper[1], 255 - paper[2])
        draw.line([(12, y), (int(width * seed.uniform(0.2, 0.9)), y)], fill=ink, width=3)
    page.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return page


def part(image: Image.Image, seed: random.Random) -> Image.Image:
    """Return a part of a picture."""
    share = seed.uniform(0.35, 0.7)
    width, height = max(1, int(image.width * share)), max(1, int(image.height * share))
    x, y = seed.randrange(image.width - width + 1), seed.randrange(image.height - height + 1)
    return image.crop((x, y, x + width, y + height))


def cartoon(image: Image.Image) -> Image.Image:
    """Return what a cartoon filter makes of it: smooth areas of few colours, dark lines."""
    smooth = image.filter(ImageFilter.MedianFilter(7)).filter(ImageFilter.MedianFilter(7))
    lines = image.convert("L").filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.FIND_EDGES)
    flat = ImageOps.posterize(smooth, 3)
    flat.paste((0, 0, 0), mask=lines.point(lambda value: 255 if value > 40 else 0))
    return flat


def colours(image: Image.Image, count: int, *, dither: bool) -> Image.Image:
    """Return it with a palette of so many colours, as GIF has it."""
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    palette = image.quantize(count)
    return image.quantize(palette=palette, dither=how).convert("RGB")


def changed(image: Image.Image, change: str, seed: random.Random) -> Image.Image:
    """Return a picture as one of `PLAIN` or `KNOWN` leaves it."""
    if change == "as it is":
        return image
    if change == "JPEG":
        return again(fitted(image, seed.choice([480, 640, 800])), "JPEG", quality=seed.randrange(40, 90))
    if change == "small":
        return again(fitted(image, seed.choice([160, 220, 300])), "JPEG", quality=seed.randrange(60, 92))
    if change == "part":
        return again(part(image, seed), "JPEG", quality=seed.randrange(50, 90))
    small = fitted(image, 500)
    if change == "on a page":
        return on_a_page(small, seed)
    if change == "GIF 256":
        return colours(small, 256, dither=True)
    return ImageOps.posterize(small, 3) if change == "posterised 3" else small.filter(ImageFilter.MedianFilter(7))


def disguised(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Yield what might make a photograph pass for drawn and is never trained on."""
    small = fitted(image, 400)
    yield "posterised 2", ImageOps.posterize(small, 2)
    yield "posterised 4", ImageOps.posterize(small, 4)
    yield "GIF 256, not dithered", colours(small, 256, dither=False)
    yield "GIF 64", colours(small, 64, dither=True)
    yield "GIF 16, not dithered", colours(small, 16, dither=False)
    yield "oil painting", small.filter(ImageFilter.ModeFilter(9))
    yield "edges enhanced", small.filter(ImageFilter.EDGE_ENHANCE_MORE)
    yield "contours alone", small.filter(ImageFilter.CONTOUR)
    yield "cartoon filter", cartoon(small)
    yield "170 % brightness", ImageEnhance.Brightness(small).enhance(1.7)
    yield "30 % brightness", ImageEnhance.Brightness(small).enhance(0.3)
    yield "grey", small.convert("L").convert("RGB")
    yield "blurred", small.filter(ImageFilter.GaussianBlur(4))
    yield "JPEG quality 10", again(small, "JPEG", quality=10)


# --- measuring --------------------------------------------------------------------------------------------------------
def decoded(decoder: SandboxDecoder, path: Path) -> Image.Image | None:
    """Return what the program sees of a file; None where it does not decode."""
    data = path.read_bytes()
    try:
        frame = decoder.decode(data, sniff(data)).frames[0]
    except FediSafetyError:
        return None
    return fitted(Image.frombuffer("RGB", (frame.width, frame.height), frame.rgb, "raw", "RGB", 0, 1), LONGEST_PX)


def measured(gathered: Gathered, most: int) -> Iterator[Row]:
    """Yield every view of every picture."""
    nudenet = NudeNet(choose_device("cpu"), 1)
    with SandboxDecoder(jobs=1) as decoder:
        for corpus, files in gathered.files.items():
            start = time.monotonic()
            kinds = Counter[str]()
            for name, path in files[:most]:
                kind, seed = kind_of(corpus, name), random.Random(f"{SEED} {name}")
                kinds[kind] += 1
                if kind == OTHER and kinds[kind] > UNTOLD:
                    continue
                image = decoded(decoder, path)
                if image is None or min(image.size) < LEAST_PX:
                    continue
                package = name.partition("/")[0]
                for change, view in views(image, kind, seed):
                    pixels = np.asarray(view)
                    faces = faces_of(nudenet, pixels) if change == "as it is" else ()
                    yield Row(corpus, kind, HANDS.get(package, package), change, statistics(pixels), faces)
            print(f"{corpus}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def faces_of(nudenet: NudeNet, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...] | None:
    """Return the statistics of what lies around each face; None where one of them is too small to tell anything."""
    height, width = rgb.shape[:2]
    found = []
    for box in nudenet.score([Evidence(Frame(0, width, height, rgb.tobytes()))])[0].boxes:
        if box.label in FACES:
            half = AROUND / 2 * max(box.width * width, box.height * height)
            x, y = (box.x + box.width / 2) * width, (box.y + box.height / 2) * height
            around = rgb[max(0, int(y - half)) : int(y + half) + 1, max(0, int(x - half)) : int(x + half) + 1]
            if min(around.shape[:2]) < LEAST_PX:
                return None
            found.append(statistics(around))
    return tuple(found)


def views(image: Image.Image, kind: str, seed: random.Random) -> Iterator[tuple[str, Image.Image]]:
    """Yield a picture as it is, as it is changed on its way, and a photograph as it may be disguised."""
    yield "as it is", image
    if kind == OTHER:
        return
    wholly = kind == PHOTOGRAPH and seed.randrange(EVERY) == 0
    for change in PLAIN[1:] if wholly else [seed.choice(PLAIN[1:])]:
        yield change, changed(image, change, seed)
    if kind == PHOTOGRAPH:
        for change in KNOWN if wholly else [seed.choice(KNOWN)]:
            yield change, changed(image, change, seed)
    if wholly:
        yield from disguised(image)


Chances = NDArray[np.float64]  # (rows, 2): by the whole view; by that and every face


@dataclass(frozen=True, slots=True)
class Classifier:
    """A logistic regression over statistics."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    model: LogisticRegression

    def chances(self, numbers: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return how surely each is drawn."""
        found: NDArray[np.float64] = self.model.predict_proba((np.stack(numbers) - self.mean) / self.scale)[:, 1]
        return found


def fit(rows: Sequence[Row]) -> Classifier:
    """Train on what is labelled."""
    used = [row for row in rows if row.kind != OTHER and row.change in (*PLAIN, *KNOWN)]
    numbers = np.stack([row.numbers for row in used]).astype(np.float64)
    mean, scale = numbers.mean(axis=0), numbers.std(axis=0) + 1e-3
    model = LogisticRegression(C=0.1, max_iter=400)
    model.fit((numbers - mean) / scale, [row.kind == DRAWN for row in used])
    return Classifier(mean, scale, model)


def told_by(classifier: Classifier, rows: Sequence[Row]) -> Chances:
    """Return what a classifier says of these rows."""
    whole = classifier.chances([row.numbers for row in rows])
    least = whole.copy()
    for i, row in enumerate(rows):
        if row.faces is None:
            least[i] = 0.0
        elif row.faces:
            least[i] = min(whole[i], classifier.chances(row.faces).min())
    return np.stack([whole, least], axis=1)


def held_out(rows: Sequence[Row]) -> Chances:
    """Return for every row the chance by a classifier that saw no picture of the same hand."""
    chances = np.zeros((len(rows), 2))
    for hand in sorted({row.hand for row in rows}):
        mine = [i for i, row in enumerate(rows) if row.hand == hand]
        chances[mine] = told_by(fit([row for row in rows if row.hand != hand]), [rows[i] for i in mine])
    return chances


def report(rows: Sequence[Row], found: Chances, threshold: float) -> dict[str, Any]:
    """Return how many of each corpus and of each change are taken for drawn, and the area under the curve."""
    told: dict[str, Any] = {"threshold": threshold, "corpora": [], "faces": [], "changes": []}
    labelled = [i for i, row in enumerate(rows) if row.kind != OTHER and row.change in PLAIN]
    chances = found[:, 0]
    told["auc"] = float(roc_auc_score([rows[i].kind == DRAWN for i in labelled], chances[labelled]))
    for corpus, kind in dict.fromkeys((row.corpus, row.kind) for row in rows):
        for told_as, changes in {"as it is": PLAIN[:1], "changed": PLAIN[1:]}.items():
            here = [
                c
                for c, r in zip(chances, rows, strict=True)
                if (r.corpus, r.kind) == (corpus, kind) and r.change in changes
            ]
            if here:
                hits = int((np.array(here) >= threshold).sum())
                told["corpora"].append({"corpus": corpus, "kind": kind, "as": told_as, "n": len(here), "drawn": hits})
        with_face = [i for i, r in enumerate(rows) if (r.corpus, r.kind) == (corpus, kind) and r.faces != ()]
        if with_face:
            whole, all_of_it = ((found[with_face, column] >= threshold).sum() for column in (0, 1))
            told["faces"].append(
                {"corpus": corpus, "kind": kind, "n": len(with_face), "whole": int(whole), "drawn": int(all_of_it)}
            )
    for change in dict.fromkeys(row.change for row in rows if row.kind == PHOTOGRAPH):
        here = [chances[i] for i, row in enumerate(rows) if row.kind == PHOTOGRAPH and row.change == change]
        hits = int((np.array(here) >= threshold).sum())
        told["changes"].append({"change": change, "trained": change in (*PLAIN, *KNOWN), "n": len(here), "drawn": hits})
    return told


def tables(told: Mapping[str, Any]) -> str:
    """Return the figures in Markdown."""
    by_kind: dict[tuple[str, str], dict[str, str]] = {}
    for row in told["corpora"]:
        by_kind.setdefault((row["corpus"], row["kind"]), {})[row["as"]] = rate(row["drawn"], row["n"])
    corpora = table(
        ["corpus", "what", "taken for drawn", "as a JPEG, small, in part"],
        [[*key, cells["as it is"], cells.get("changed", "")] for key, cells in by_kind.items()],
    )
    changes = table(
        ["photographs, changed", "trained on", "taken for drawn"],
        [[row["change"], "yes" if row["trained"] else "", rate(row["drawn"], row["n"])] for row in told["changes"]],
    )
    faces = table(
        ["with a face", "what", "the whole looks drawn", "taken for drawn"],
        [[r["corpus"], r["kind"], rate(r["whole"], r["n"]), rate(r["drawn"], r["n"])] for r in told["faces"]],
    )
    first = f"Area under the curve {told['auc']:.4f}, bound {told['threshold']:g}"
    return "\n\n".join((first, corpora, faces, changes)) + "\n"


def main() -> int:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=MOST, help="how many pictures of each corpus at most")
    parser.add_argument("--bound", type=float, default=BOUND, help="from where on a picture counts as told drawn")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder for corpora (default: user's cache)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    about, manifest = machine(), read_manifest()
    print(machine_line(about))
    gathered = gather(manifest, options.work)
    for package, why in gathered.left_out.items():
        print(f"left out: {package}: {why}", file=sys.stderr)
    rows = list(measured(gathered, options.most))
    told = report(rows, held_out(rows), options.bound)
    print(tables(told))
    write_result("drawn", {"benchmark": "drawn", "machine": about, "left_out": gathered.left_out, **told}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
