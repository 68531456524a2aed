"""How often `known` finds a picture again, change by change, and how often it takes one picture for another.

Harmless pictures out of packages (benign.toml), read by the decoder's process and hashed as a scan does it. Two lists
hold the originals: as this program keeps their hashes, also without a border, and as others do, from the whole picture
alone. A copy is found where it meets its own entry; to meet another's is a mistake. What is too faint to be
compared is counted apart. Photographs and drawings are told apart. Ends with 1 where a
row finds fewer photographs than it must.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.benign_changes import on_white
from bench.benign_corpora import gather, read_manifest
from bench.corpus import default_work
from bench.known_changes import LONGEST_PX, Row, jpeg, rows, scaled
from bench.measure import machine, machine_line, write_result

from fedi_safety.app.engine import open_decoder
from fedi_safety.app.ledger import SystemClock
from fedi_safety.config.schema import Settings
from fedi_safety.core.cascade import Cascade
from fedi_safety.core.examine import Examiner
from fedi_safety.core.known.effects import LEAST_QUALITY
from fedi_safety.core.known.ports import Compared
from fedi_safety.core.known.types import DISTANCE, PDQ_BITS, SURE_BITS, Entry, HashKind, KnownList
from fedi_safety.core.pipeline import Stages
from fedi_safety.core.types import Fingerprints, Frame
from fedi_safety.detectors.known.descriptor import CopyDescriptor
from fedi_safety.detectors.known.pdq import turns_and_surest, upright
from fedi_safety.detectors.known.recognizer import Known
from fedi_safety.detectors.sessions.devices import choose_device
from fedi_safety.known.catalog import Catalog
from fedi_safety.models.descriptor import open_descriptor_folder
from fedi_safety.policies import load_policy

PHOTOGRAPHS = ("people", "photographs", "galleries")
DRAWINGS = ("clip-art",)
# What is drawn, by a person or a program; and the same picture as frost2.
NO_PHOTOGRAPHS = re.compile(r"/illustrations/|/data/color\.png$|/curved-images/|/frost3\.png$")
# Photographs of one thing, by their names; looked at, one by one. A copy descriptor is right to find them alike: what
# one stereo camera took; one picture under two names; a boot from three sides; portraits and what was cut from them
# or taken a moment later; a screen that shows the other picture.
ONE_THING = (
    {"motorcycle_left", "motorcycle_right"},
    {"12", "david-marcu-114194"},
    {"prod-1", "prod-2", "prod-5"},
    {"ivana-square", "brooke"},
    {"kal-visuals-square", "kal-visuals"},
    {"bruce-mars", "jordan"},
    {"landing", "profile_city"},
)
LEAST_SIDE_PX = 256
MOST_PIXELS = 40_000_000
SEED = 16
OURS, OTHERS, REMOVED = "as hashed here", "as hashed by others", "removed"
MISSED = "as hashed here, from farther off"  # condemns nothing: it tells by how much a copy is missed
FAR = 64  # bits
Hashes = NDArray[np.uint8]


@dataclass(slots=True)
class Found:
    """What a change came to, for the pictures of one kind: distances to the own entry, and other entries met."""

    ours: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    near: list[bool] = field(default_factory=list)  # whether the descriptor of the original was met
    met_near: set[str] = field(default_factory=set)
    mistaken: list[str] = field(default_factory=list)
    by_surest: int = 0  # that are met by the surest bits of their hash alone
    faint: int = 0  # copies in which there is too little to see, which are compared with nothing
    missed: dict[str, int] = field(default_factory=dict)  # and how many bits off; `FAR` + 1 stands for more

    def share(self, distances: Sequence[int]) -> float:
        """Return the share within the distance."""
        return sum(d <= DISTANCE for d in distances) / max(1, len(distances))

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "of": len(self.ours),
            "found": self.share(self.ours),
            "found_by_others_hash": self.share(self.others),
            "near": sum(self.near) / len(self.near) if self.near else None,
            "by_neither": sorted(self.missed.keys() - self.met_near),
            "median_bits": median(self.ours) if self.ours else None,
            "mistaken": self.mistaken,
            "by_surest_bits": self.by_surest,
            "faint": self.faint,
            "missed": self.missed,
        }


class Listening:
    """The detector `known`, of which all that it answers is kept, however far off it is."""

    def __init__(self, known: Known) -> None:
        """Ask this one."""
        self._known = known
        self.name, self.version, self.model, self.active = known.name, known.version, known.model, True
        self.said: list[Compared] = []

    def exact(self, _: Fingerprints) -> Sequence[Any]:
        """Return nothing: bytes play no part here."""
        return ()

    def pictures(self, frames: Sequence[Frame]) -> list[Compared]:
        """Compare pictures."""
        self.said = self._known.pictures(frames)
        return self.said

    def close(self) -> None:
        """Let go of the lists."""
        self._known.close()


class Reader:
    """Files as a scan decodes, hashes and compares them."""

    def __init__(self, catalog: Catalog, describer: CopyDescriptor | None) -> None:
        """Start the decoder's process, and compare with the catalog's lists."""
        self._decoder = open_decoder(Settings(), 1)
        self.model = "" if describer is None else describer.model
        self._known = Listening(Known(catalog.images(), describer))
        policy = load_policy("balanced")
        cascade = Cascade([], policy, recognizer=self._known)
        self._examiner = Examiner(self._decoder, cascade, policy, Stages(), SystemClock())

    def compared(self, data: bytes) -> list[Compared]:
        """Return what each picture of a file meets."""
        self._known.said = []
        self._examiner.decode(hashlib.sha256(data).digest(), data, self._decoder.sniff(data[:4096]))
        return self._known.said

    def close(self) -> None:
        """End the decoder's process."""
        self._decoder.close()
        self._known.close()


def pictures(corpora: Sequence[str], most: int | None, *, fetched: bool) -> list[tuple[str, Path]]:
    """Return names and files of pictures large enough, the same ones each time, at most so many."""
    work = default_work()
    work.mkdir(parents=True, exist_ok=True)
    gathered = gather(read_manifest(), work, fetched=fetched, named=corpora)
    for package, why in gathered.left_out.items():
        print(f"left out: {package}: {why}", file=sys.stderr)
    found = sorted(each for files in gathered.files.values() for each in files)
    distinct = {_subject(n): (n, path) for n, path in found if _fits(path) and not NO_PHOTOGRAPHS.search(n)}
    return spread(list(distinct.values()), most)


def _subject(name: str) -> str:
    """Return what a picture is called: themes take over each other's, and have some in two sizes."""
    return re.sub(r"-(500|1500)$", "", Path(name).stem)


def _fits(path: Path) -> bool:
    if path.suffix == ".svg":
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only its header is read
        with Image.open(path) as image:
            return min(image.size) >= LEAST_SIDE_PX and image.width * image.height <= MOST_PIXELS


def spread(found: list[tuple[str, Path]], most: int | None) -> list[tuple[str, Path]]:
    """Return at most so many, from everywhere."""
    if most is None or len(found) <= most:
        return found
    return [found[i * len(found) // most] for i in range(most)]


def original(path: Path) -> Image.Image:
    """Return a picture as it is before it is changed."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * LONGEST_PX, 2 * LONGEST_PX))  # decodes large ones at less than their size
        return scaled(on_white(image), LONGEST_PX)


def listed(catalog: Catalog, chosen: Sequence[tuple[str, Path]], reader: Reader) -> list[tuple[str, Path]]:
    """Put the originals onto both lists; return those in which there is enough to see."""
    kept, ours, others, near = [], [], [], []
    for name, path in chosen:
        image = original(path)
        compared = reader.compared(jpeg(image, 95))
        hashes = [each.hash for each in compared]
        if hashes[0].quality < LEAST_QUALITY:
            continue
        kept.append((name, path))
        for each in hashes:
            if each.quality >= LEAST_QUALITY:
                ours.append(Entry(HashKind.PDQ, each.pdq, f"{name}@{each.frame}", quality=each.quality))
        for told in compared:
            if told.descriptor is not None:
                name_there = f"{name}@{told.hash.frame}"
                near.append(Entry(HashKind.NEAR, told.descriptor, name_there, category=reader.model))
        whole, quality = upright(image.tobytes(), *image.size)
        others.append(Entry(HashKind.PDQ, whole.tobytes(), name, quality=quality))
    catalog.put(KnownList(OURS), ours)
    catalog.put(KnownList(OTHERS), others)
    catalog.put(KnownList(MISSED, distance=FAR), ours)
    catalog.put(KnownList(REMOVED), near)
    return kept


def changed(chosen: Sequence[tuple[str, Path]], table: Sequence[Row], reader: Reader) -> dict[str, Found]:
    """Return by change how the copies of these pictures were found."""
    found = {change: Found() for row in table for change in row.changes}
    for name, path in chosen:
        image = original(path)
        for row in table:
            for change, make in row.changes.items():
                random = np.random.default_rng([SEED, *hashlib.sha256(f"{name} {change}".encode()).digest()[:4]])
                _note(found[change], name, reader.compared(make(image, random)))
    return found


def _note(found: Found, name: str, compared: Sequence[Compared]) -> None:
    if all(each.hash.quality < LEAST_QUALITY for each in compared):
        found.faint += 1
        return
    hits = [hit for each in compared for hit in each.hits]
    own = [hit for hit in hits if _picture(hit.entry) == name]
    off = min((hit.distance for hit in own if hit.list == MISSED), default=FAR + 1)
    for known_list, distances in ((OURS, found.ours), (OTHERS, found.others)):
        distances.append(min((hit.distance for hit in own if hit.list == known_list), default=max(off, DISTANCE + 1)))
    met = next((hit for hit in own if hit.list == OURS), None)
    found.by_surest += met is not None and off > DISTANCE
    found.near.append(any(hit.list == REMOVED and _picture(hit.entry) == name for hit in hits))
    found.met_near.update([name] if found.near[-1] else [])
    if found.ours[-1] > DISTANCE:
        found.missed[name] = found.ours[-1]
    other = {_picture(hit.entry) for hit in hits if hit.list != MISSED} - {name}
    found.mistaken += [f"{name} for {entry}" for entry in sorted(other) if not _one_thing(name, entry)]


def _one_thing(name: str, other: str) -> bool:
    return any({_subject(name), _subject(other)} <= names for names in ONE_THING)


def _picture(entry: str) -> str:
    return entry.rpartition("@")[0] or entry


def pairs(chosen: Sequence[tuple[str, Path]], describer: CopyDescriptor | None) -> dict[str, Any]:
    """Return how many distinct pictures match, upright and in any turn, and how near the nearest are."""
    made, described = [], []
    for _, path in chosen:
        image = original(path)
        made.append(turns_and_surest(image.tobytes(), *image.size))
        if describer is not None and made[-1][2] >= LEAST_QUALITY:
            described.append(describer.describe([Frame(0, *image.size, image.tobytes())])[0])
    pairs = zip(chosen, made, strict=True)
    seen = [(name, hashes, surest) for (name, _), (hashes, surest, quality) in pairs if quality >= LEAST_QUALITY]
    names = [name for name, *_ in seen]
    stacked = np.stack([hashes[0] for _, hashes, _ in seen])
    nearest, upright_ones, turned, by_surest = 256, 0, 0, []
    for at, (name, hashes, surest) in enumerate(seen):
        off = _bits(hashes, stacked)
        off[:, at] = 256
        nearest = min(nearest, int(off[0].min()))
        upright_ones += int((off[0, at + 1 :] <= DISTANCE).sum())
        turned += int((off[1:, at + 1 :] <= DISTANCE).sum())
        sure = np.bitwise_count((hashes[:, None] ^ stacked) & surest[:, None]).sum(axis=2, dtype=np.int64)
        like = (off > DISTANCE) & (off <= DISTANCE + DISTANCE // 2) & (sure * PDQ_BITS <= DISTANCE * SURE_BITS)
        by_surest += [f"{name}, {names[i]}" for i in np.flatnonzero(like.any(axis=0))]
    near = _near_pairs(names, np.stack(described), describer.distance) if describer is not None else {}
    return near | {
        "pictures": len(seen),
        "faint": len(chosen) - len(seen),
        "pairs": len(seen) * (len(seen) - 1) // 2,
        "match": upright_ones,
        "match_in_another_turn": turned,
        "match_by_surest_bits": len(by_surest),
        "nearest_bits": nearest,
        "by_surest_which": by_surest,
    }


def _near_pairs(names: Sequence[str], described: Hashes, distance: int) -> dict[str, Any]:
    off = _bits(described, described)
    pairs = [(at, other) for at in range(len(names)) for other in range(at + 1, len(names))]
    distinct = [pair for pair in pairs if not _one_thing(names[pair[0]], names[pair[1]])]
    nearest = sorted((int(off[pair]), names[pair[0]], names[pair[1]]) for pair in distinct)
    return {
        "near_match": sum(bits <= distance for bits, *_ in nearest),
        "near_nearest_bits": [bits for bits, *_ in nearest[:3]],
        "near_of_one_thing": sum(int(off[pair]) <= distance for pair in set(pairs) - set(distinct)),
        "near_which": nearest[:20],
    }


def _bits(some: Hashes, others: Hashes) -> NDArray[np.int64]:
    differing = np.bitwise_count(some[:, None, :] ^ others[None, :, :])
    return np.asarray(differing.sum(axis=2, dtype=np.int64))


def lines(table: Sequence[Row], kinds: Mapping[str, Mapping[str, Found]]) -> Iterator[str]:
    """Give the table, in Markdown; a row has the lowest share of its changes and that of all of them."""
    heads = "change", "must", "photographs found", "the least of these", "listed by others", "drawings found", "near"
    yield f"| {' | '.join(heads)} | too faint |"
    yield "|---|---|---|---|---|---|---|---|"
    photographs, drawings = (kinds.get(kind, {}) for kind in ("photographs", "drawings"))
    for row in table:
        shown = [photographs[change] for change in row.changes]
        least = min(shown, key=lambda found: found.share(found.ours))
        named = next(change for change in row.changes if photographs[change] is least)
        drawn = [drawings[change] for change in row.changes if change in drawings]
        must = "" if row.must is None else f"{100 * row.must:.0f} %"
        weakest = f"{_percent([least], 'ours')} ({named})" if len(shown) > 1 else ""
        near = [met for found in shown for met in found.near]
        by_near = f"{100 * sum(near) / len(near):.1f} %" if any(near) else ""
        shares = _percent(shown, "ours"), weakest, _percent(shown, "others"), _percent(drawn, "ours"), by_near
        faint = sum(found.faint for found in (*shown, *drawn))
        yield f"| {' | '.join((row.name, must, *shares, str(faint) if faint else ''))} |"


def _percent(found: Sequence[Found], which: str) -> str:
    distances = [d for each in found for d in getattr(each, which)]
    return f"{100 * sum(d <= DISTANCE for d in distances) / len(distances):.1f} %" if distances else ""


def missed(table: Sequence[Row], photographs: Mapping[str, Found]) -> list[str]:
    """Return the rows that find fewer photographs than they must, over all of their changes."""
    wrong = []
    for row in table:
        distances = [d for change in row.changes for d in photographs[change].ours]
        share = sum(d <= DISTANCE for d in distances) / len(distances)
        if row.must is not None and share < row.must:
            wrong.append(f"{row.name}: {100 * share:.1f} %")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=120, help="that are changed (default: %(default)s)")
    parser.add_argument("--drawings", type=int, default=25, help="that are changed (default: %(default)s)")
    parser.add_argument("--near", type=Path, help="a copy descriptor's folder (docs/known.md), to be measured as well")
    parser.add_argument("--only", help="changes whose name matches, a regular expression")
    parser.add_argument("--installed", action="store_true", help="fetch no package")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    options = parser.parse_args(arguments)
    table = [
        Row(row.name, row.must, changes)
        for row in rows()
        if (changes := {n: c for n, c in row.changes.items() if not options.only or re.match(options.only, n)})
    ]
    describer = None
    if options.near is not None:
        described = open_descriptor_folder(options.near)
        describer = CopyDescriptor(described, Settings().known.near_distance, choose_device("cpu"), 1)
    started = time.process_time()
    kinds: dict[str, dict[str, Found]] = {}
    alike: dict[str, Any] = {}
    for kind, corpora, most in (
        ("photographs", PHOTOGRAPHS, options.photographs),
        ("drawings", DRAWINGS, options.drawings),
    ):
        every = pictures(corpora, None, fetched=not options.installed)
        if not every:
            continue
        alike[kind] = pairs(every, describer)
        with tempfile.TemporaryDirectory(prefix="fedi-safety-bench-") as folder, Catalog(Path(folder)) as catalog:
            reader = Reader(catalog, describer)
            try:
                kinds[kind] = changed(listed(catalog, spread(every, most), reader), table, reader)
            finally:
                reader.close()
    about = machine()
    print(machine_line(about))
    print("\n".join(lines(table, kinds)))
    for kind, told in alike.items():
        print(f"{kind}: " + ", ".join(f"{name} {value}" for name, value in told.items() if not name.endswith("which")))
    result: dict[str, Any] = {
        kind: {name: found.as_json() for name, found in each.items()} for kind, each in kinds.items()
    }
    result |= {"machine": about, "alike": alike, "cpu_s": time.process_time() - started}
    write_result("known-robust", result, options.out)
    wrong = missed(table, kinds["photographs"])
    print("\n".join(f"missed: {each}" for each in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
