"""The style sheet of the report page: light and dark, on screens and on paper. No fonts or images from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2026; --dim: #59636e; --line: #dde1e6;
  --clear: #3d78b8; --review: #e0a022; --block: #b8242b; --gap: #8c96a1; --bar: #3d78b8; --removed: #b8242b;
  --warn: #fdf0ee; --mark: #b8242b; --skipped: #d5dae0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1d2126; --ink: #e7eaee; --dim: #a0aab5; --line: #343b43;
    --clear: #5d9bdc; --review: #e8b34a; --block: #ee6a66; --gap: #7b8590; --bar: #5d9bdc; --removed: #ee6a66;
    --warn: #33201f; --mark: #ff8f88; --skipped: #3d454e;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 64rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .25rem 0 .75rem; }
.dim, figcaption { color: var(--dim); font-size: .87rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem; }
section { margin-top: 1.25rem; }
.warn { background: var(--warn); border-color: var(--mark); }
.now { overflow-wrap: anywhere; }
.now progress { width: 100%; height: .6rem; accent-color: var(--bar); }
.warn ul, .marks { margin: .4rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.marks { font-size: .87rem; color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; }
.tiles { margin: 1.25rem 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem; }
.tiles dt { color: var(--dim); font-size: .82rem; }
.tiles dd { margin: 0; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: minmax(0, 5fr) minmax(13rem, 3fr); gap: 1.25rem; align-items: start; }
@media (max-width: 44rem) { .pair { grid-template-columns: minmax(0, 1fr); } }
.narrow { display: none; }
@media screen and (max-width: 44rem) {
  .wide { display: none; } .narrow { display: block; max-width: 30rem; }
  body { padding: 1rem .6rem 2rem; } section { padding: .9rem .8rem; }
}
figure { margin: 0 0 .4rem; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
.scroll { overflow-x: auto; }
.scroll + p { margin-top: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .28rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--dim); font-weight: 500; }
th:first-child, td:first-child { padding-left: 0; }
.n { text-align: right; width: 1%; }
td.n, .named { white-space: nowrap; }
td.t { overflow-wrap: anywhere; min-width: 5rem; }
@media screen and (max-width: 44rem) { td.t { min-width: 8rem; } }
code { font: .92em ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--dim); font-size: .87rem; }
details { margin-top: .3rem; }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .45em; }
rect.clear { fill: var(--clear); } rect.review { fill: var(--review); } rect.block { fill: var(--block); }
rect.gap { fill: var(--gap); } rect.skipped { fill: var(--skipped); }
rect.bar { fill: var(--bar); } rect.removed { fill: var(--removed); }
rect.empty { fill: none; stroke: var(--line); }
i.clear { background: var(--clear); } i.review { background: var(--review); } i.block { background: var(--block); }
i.gap { background: var(--gap); } i.skipped { background: var(--skipped); }
svg.interval { width: 8rem; margin: .3rem 0; }
.span { stroke: var(--bar); stroke-width: 4; stroke-linecap: round; opacity: .45; } .point { fill: var(--bar); }
.grid { stroke: var(--line); } .axis { stroke: var(--dim); }
text { fill: var(--dim); } text.count { fill: var(--ink); font-size: 11px; }
.threshold line { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 5 3; }
.threshold line.halo { stroke: var(--card); stroke-width: 4; stroke-dasharray: none; }
.threshold text { fill: var(--mark); font-weight: 600; }
footer { color: var(--dim); font-size: .82rem; margin-top: 1.25rem; }
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --dim: #444; --line: #ccc; --clear: #3d78b8; --review: #e0a022;
    --block: #b8242b; --gap: #8c96a1; --bar: #3d78b8; --removed: #b8242b; --warn: #fff; --mark: #b8242b;
    --skipped: #d5dae0;
  }
  html { font-size: 11px; }
  body { padding: 0; max-width: none; font-size: 1rem; }
  .scroll { overflow: visible; }
  section, .tiles div { border-radius: 0; }
  figure, tr, .warn, .tiles { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  rect, i.key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
