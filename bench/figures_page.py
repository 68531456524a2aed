"""Figures as text: docs/figures.md, and README's blocks between `<!-- figures: PART -->` and `<!-- end of figures -->`.

Everything is written out of docs/figures.json by `./dev bench all`; a test holds the pages against it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.benign_page import table
from bench.measure import ROOT

FIGURES = ROOT / "docs/figures.json"
PAGE = ROOT / "docs/figures.md"
README = ROOT / "README.md"
END = "<!-- end of figures -->"
BLOCK = re.compile(rf"<!-- figures: (\w+) -->\n(.*?){re.escape(END)}", re.DOTALL)
Figures = Mapping[str, Any]

HEAD = """# Figures

<!-- Written by `./dev bench all`, out of docs/figures.json. -->
Measured by `./dev bench all`, each part on a machine that did nothing else; README's tables are made from the same
file ([figures.json](figures.json)). A part has the day and the commit of its own measurement: what could not run then
kept its older figures. Ratios are of runs by turns; a range is from the lowest to the highest.
"""


def number(value: float) -> str:
    """Return a figure with the digits that say something: three, and no more than two behind the point."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(found: Figures) -> str:
    """Return `median [lowest to highest]`."""
    middle, low, high = (number(found[name]) for name in ("median", "min", "max"))
    return middle if low == high else f"{middle} [{low} to {high}]"


def where(entry: Figures) -> str:
    """Say by what, when and on what machine a part was measured."""
    about = entry["figures"]["machine"]
    return (
        f"`{entry['command']}` on {entry['day']} at commit `{entry['commit']}`: {about['processor']}, {about['cores']} "
        f"cores, {about['memory_gb']} GB, Python {about['python']}, ONNX Runtime {about['packages']['onnxruntime']}, "
        f"load {about['load_at_start'][0]} before it began."
    )


# --- a function a part ----------------------------------------------------------------------------------------------
def scan(found: Figures, all_figures: Figures) -> str:
    """Return scanning beside the plain loop, and beside the loop in the predecessor's shape where that was run."""
    ways = {
        "a": "a plain loop: Pillow, then the three packages' own predictors",
        "b": "`fedi-safety scan`",
        "c": "`fedi-safety scan --no-cascade`",
    }
    rows = [
        (
            title,
            spread(found["images_per_second"][way]),
            "1" if way == "a" else spread(found["ratio_to_loop"][way]),
            spread(found["cpu_ms_per_image"][way]),
        )
        for way, title in ways.items()
    ]
    text = table(("", "pictures a second", "times the loop", "processor ms a picture"), rows, (1, 2, 3))
    agree = found["agreement"]["b"]
    text += f"\n\nVerdicts of loop and scan agree on {agree['same']} of {agree['files']} pictures."
    loop = (all_figures.get("clip") or {}).get("figures", {}).get("loop")
    if loop:
        times = found["images_per_second"]["b"]["median"] / loop["images_per_second"]["median"]
        text += f" The scan is {number(times)} times as fast as the loop in the predecessor's shape (below)."
    return text


def clip(found: Figures, _: Figures) -> str:
    """Return `clip` beside the loop in the predecessor's shape."""
    rows: list[Sequence[str]] = []
    if found["loop"]:
        memory = f"{found['loop']['peak_rss_mb']:,.0f} MB"
        rows.append(("the loop", spread(found["loop"]["images_per_second"]), "1", memory, ""))
    for precision, way in found["every"].items():
        cosine = way["cosine_to_fp32"]
        rows.append(
            (
                f"every picture, {precision}",
                spread(way["images_per_second"]),
                spread(way["ratio_to_loop"]) if way["ratio_to_loop"] else "",
                f"{way['peak_rss_mb']:,.0f} MB",
                f"{cosine['lowest']:.5f}" if cosine else "1",
            )
        )
    cascade = found["cascade"]
    title = (
        f"cascade with {cascade['precision']}, {found['corpus_files']} pictures, of which `clip` saw "
        f"{100 * cascade['share_seen_by_clip']:.1f} %"
    )
    times = spread(cascade["ratio_to_loop"]) if cascade["ratio_to_loop"] else ""
    rows.append((title, spread(cascade["images_per_second"]), times, f"{cascade['peak_rss_mb']:,.0f} MB", ""))
    text = table(("", "pictures a second", "times the loop", "peak memory", "least cosine"), rows, (1, 2, 3, 4))
    alone = ", ".join(
        f"{100 * tower['share_of_own_shapes']:.0f} % ({precision}, {tower['tower_gflops']:,.0f} GFLOP/s)"
        for precision, tower in found["tower"].items()
    )
    return f"{text}\n\nOf the rate of bare multiplications of its shapes in this run the network alone has {alone}."


def stores(found: Figures, _: Figures) -> str:
    """Return scans of S3 and SFTP beside local files."""
    rows = []
    for name, title in (("local", "local files"), ("s3", "S3"), ("sftp", "SFTP")):
        rates = sorted(found["rates"][name])
        ratios = sorted(found[f"{name} to local"])
        rows.append((title, number(rates[len(rates) // 2]), f"{ratios[len(ratios) // 2]:.2f}"))
    return table(("store", "pictures a second", "of local"), rows, (1, 2))


def rescan(found: Figures, _: Figures) -> str:
    """Return a second scan with nothing new."""
    second = found["second_scan"]
    return (
        f"A second scan of {second['objects']:,} objects with nothing new looks at "
        f"{spread(second['objects_per_second'])} a second, and opens {second['opened']['store']} files."
    )


def gate(found: Figures, _: Figures) -> str:
    """Return the gate's answers, and its rate beside a gate in the predecessor's shape."""
    steady, beside = found["steady"], found["beside"]
    half, most = (f"{steady[name]:.0f} ms" for name in ("p50_ms", "p99_ms"))
    ours = beside["rounds"]["ours"][-1]
    pressed_half, pressed_most = (f"{ours[name]:.0f} ms" for name in ("p50_ms", "p99_ms"))
    errors = "no error" if not steady["errors"] else f"{steady['errors']} errors"
    times = beside["times"]["old shape, plain judging"]
    rows = [
        (
            f"10 a second offered, for {steady['seconds']:.0f} s",
            number(steady["judged_a_second"]),
            f"{half}, {most}",
            errors,
        ),
        (
            f"{found['uploaders']} uploaders, one upload after the other",
            number(beside["judged_a_second"]["ours"]),
            f"{pressed_half}, {pressed_most}",
            f"{number(times)} times a gate of the predecessor's shape in the same run",
        ),
    ]
    return table(("", "judged uploads a second", "answered within: half, 99 %", ""), rows, (1, 2))


def media(found: Figures, _: Figures) -> str:
    """Return decoding beside Pillow's plain way, and what confining costs."""
    rows = [
        (f"JPEG of {size}, beside Pillow's open and resize", spread(row["ratio"]))
        for size, row in found["jpeg"].items()
    ]
    moving = found["moving"]["all"]["times"]["every"]
    rows.append(("animations and clips, beside decoding every frame", number(moving)))
    cost = found["sandbox"]["cost_share"]
    share, low, high = (f"{100 * cost[name]:.1f}" for name in ("median", "min", "max"))
    return (
        f"{table(('from file to what a detector gets', 'times'), rows, (1,))}\n\n"
        f"Decoding in confined child processes costs {share} % of a scan's speed [{low} to {high}]."
    )


PARTS: dict[str, tuple[str, Callable[[Figures, Figures], str]]] = {
    "scan": ("Scanning", scan),
    "clip": ("`clip` with ViT-L-14, random weights", clip),
    "stores": ("Scanning over a network", stores),
    "rescan": ("A second scan", rescan),
    "gate": ("The gate", gate),
    "media": ("Media", media),
}


# --- the pages ------------------------------------------------------------------------------------------------------
def page(figures: Figures) -> str:
    """Return docs/figures.md."""
    sections = [HEAD]
    for name, (title, say) in PARTS.items():
        if name in figures:
            entry = figures[name]
            sections.append(f"## {title}\n\n{where(entry)}\n\n{say(entry['figures'], figures)}\n")
    return "\n".join(sections)


def with_blocks(text: str, figures: Figures) -> str:
    """Return README's text with the blocks of what is measured written anew; of others the block stays."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        if name not in figures:
            return match[0]
        entry = figures[name]
        return f"<!-- figures: {name} -->\n{where(entry)}\n\n{PARTS[name][1](entry['figures'], figures)}\n\n{END}"

    return BLOCK.sub(block, text)


def write_pages() -> None:
    """Write all pages out of docs/figures.json."""
    figures = json.loads(FIGURES.read_text())
    PAGE.write_text(page(figures))
    README.write_text(with_blocks(README.read_text(), figures))
