"""Pictures of coloured shapes, drawn by code, and sentences that describe them: what stands in for everything else.

The committed test model (tests/model/) was trained on these and understands them. A scene follows from its seed, and a
picture from its scene: nothing here depends on the machine, the day or a downloaded file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import combinations
from random import Random

from PIL import Image, ImageDraw

from fedi_safety.core.types import Frame

COLOURS = {"red": (212, 36, 40), "green": (44, 150, 62), "blue": (38, 74, 196), "yellow": (238, 204, 40)}
KINDS = ("circle", "square", "triangle", "star")
BACKGROUNDS = {"white": (244, 244, 242), "grey": (128, 128, 130), "black": (18, 18, 20)}
TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "there is {}")
SMALL, LARGE = 0.19, 0.26  # a shape's radius, as a share of the picture: below is small, above is large

Thing = tuple[str, str]  # colour and kind
THINGS: tuple[Thing, ...] = tuple((colour, kind) for colour in COLOURS for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape; place and radius are shares of the picture's side, the angle is in degrees."""

    colour: str
    kind: str
    x: float
    y: float
    radius: float
    angle: float
    tint: tuple[int, int, int]  # how far this one's red, green and blue are from the colour's

    @property
    def thing(self) -> Thing:
        """Return what it is."""
        return self.colour, self.kind

    @property
    def size(self) -> str:
        """Return small or large, or nothing where one could not say."""
        return "small" if self.radius < SMALL else "large" if self.radius > LARGE else ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two shapes on a background."""

    shapes: tuple[Shape, ...]
    background: str
    shade: float  # how much the background darkens from one side to the other
    grain: int  # of the noise over everything, in levels
    seed: int

    @property
    def things(self) -> frozenset[Thing]:
        """Return what is in it."""
        return frozenset(s.thing for s in self.shapes)

    @property
    def condemned(self) -> bool:
        """Whether the stand-in policy has to block it: something in it is both red and a circle."""
        return ("red", "circle") in self.things


def scene(seed: int, things: tuple[Thing, ...] | None = None) -> Scene:
    """Return the scene of a seed; `things` says what is in it, else that is random too."""
    rng = Random(f"shapes {seed}")
    if things is None:
        things = tuple(rng.sample(THINGS, rng.choice((1, 2))))
    shapes: list[Shape] = []
    while len(shapes) < len(things):
        colour, kind = things[len(shapes)]
        radius = rng.uniform(0.14, 0.36 if len(things) == 1 else 0.24)
        x, y = rng.uniform(radius + 0.02, 0.98 - radius), rng.uniform(radius + 0.02, 0.98 - radius)
        if any(math.dist((x, y), (s.x, s.y)) < radius + s.radius + 0.02 for s in shapes):
            if rng.random() < 0.02:
                shapes.clear()  # the first one leaves no room
            continue
        turn = rng.uniform(-20, 20) if kind == "square" else rng.uniform(0, 360)
        tint = (rng.randint(-22, 22), rng.randint(-22, 22), rng.randint(-22, 22))
        shapes.append(Shape(colour, kind, x, y, radius, turn, tint))
    return Scene(
        tuple(shapes), rng.choice(tuple(BACKGROUNDS)), rng.choice((0.0, rng.random())), rng.randint(0, 12), seed
    )


def held_out(count: int, first_seed: int = 10_000_000) -> Iterator[Scene]:
    """Return scenes that training never saw: a third has a red circle, a third nearly has one, a third anything."""
    red = [t for t in THINGS if t[0] == "red" and t[1] != "circle"]
    circles = [t for t in THINGS if t[1] == "circle" and t[0] != "red"]
    others = [t for t in THINGS if t != ("red", "circle")]
    for seed in range(first_seed, first_seed + count):
        rng = Random(f"held out {seed}")
        wanted: list[Thing] | None = None
        if seed % 3 == 0:
            wanted = [("red", "circle"), *rng.sample(others, rng.choice((0, 1)))]
        elif seed % 3 == 1:
            wanted = rng.choice(([rng.choice(red)], [rng.choice(circles)], [rng.choice(red), rng.choice(circles)]))
        if wanted is not None:
            rng.shuffle(wanted)
        yield scene(seed, None if wanted is None else tuple(wanted))


def draw(what: Scene, size: int = 128) -> Image.Image:
    """Return the scene as a square RGB picture."""
    big = size * 2
    base = BACKGROUNDS[what.background]
    light = 1.0 if what.background != "black" else 2.2
    image = Image.new("RGB", (big, big), base)
    if what.shade:
        far = tuple(round(c * (1 - 0.35 * what.shade * light if light == 1.0 else light)) for c in base)
        ramp = Image.linear_gradient("L").rotate(what.seed % 4 * 90).resize((big, big), Image.Resampling.BILINEAR)
        image = Image.composite(Image.new("RGB", (big, big), far), image, ramp)
    pen = ImageDraw.Draw(image)
    for shape in what.shapes:
        _draw_shape(pen, shape, big)
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    if what.grain:
        noise = _noise(size, what.seed % 8).point(lambda v: round(128 + (v - 128) * what.grain / 32))
        image = Image.merge("RGB", [_add(band, noise) for band in image.split()])
    return image


def png_bytes(what: Scene, size: int = 128) -> bytes:
    """Return the scene as a PNG file."""
    buffer = BytesIO()
    draw(what, size).save(buffer, "PNG")
    return buffer.getvalue()


def frame(what: Scene, size: int = 128) -> Frame:
    """Return the scene as a decoded frame."""
    return Frame(0, size, size, draw(what, size).tobytes())


# --- words


def describe(things: tuple[Thing, ...]) -> str:
    """Return the plain sentence for one or two things, e.g. `a red circle and a blue square`."""
    return " and ".join(f"a {colour} {kind}" for colour, kind in things)


def descriptions() -> list[tuple[Thing, ...]]:
    """Return everything that a scene can have in it."""
    return [*((t,) for t in THINGS), *combinations(THINGS, 2)]


def stand_in_concepts() -> dict[str, dict[str, list[str]]]:
    """Return positive and negative prompts of the concepts `red` and `circle`.

    Where something is a circle, `red` asks whether that circle is red; `circle` asks likewise whether what is red is a
    circle. Both hold for a red circle, whatever is beside it; a red square alone is red; a red square beside a blue
    circle is neither.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for concept, one, other in (("red", 0, 1), ("circle", 1, 0)):
        lists: dict[str, list[str]] = {"positive": [], "negative": []}
        for things in descriptions():
            meant = {0: "red", 1: "circle"}
            asked = [t for t in things if t[other] == meant[other]] or things
            holds = any(t[one] == meant[one] for t in asked)
            lists["positive" if holds else "negative"].append(describe(things))
        found[concept] = lists
    return found


# --- drawing


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, side: int) -> None:
    colour = tuple(max(0, min(255, c + d)) for c, d in zip(COLOURS[shape.colour], shape.tint, strict=True))
    x, y, r = shape.x * side, shape.y * side, shape.radius * side
    if shape.kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        return
    corners, start = {"square": (4, 45.0), "triangle": (3, -90.0), "star": (10, -90.0)}[shape.kind]
    points = []
    for i in range(corners):
        angle = math.radians(start + shape.angle + i * 360 / corners)
        reach = r * 0.42 if shape.kind == "star" and i % 2 else r
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    pen.polygon(points, fill=colour)


@lru_cache(maxsize=32)
def _noise(size: int, which: int) -> Image.Image:
    return Image.frombytes("L", (size, size), Random(f"noise {which}").randbytes(size * size))


def _add(band: Image.Image, noise: Image.Image) -> Image.Image:
    from PIL import ImageChops

    return ImageChops.add(band, noise, offset=-128)
