"""What resvg knows of style, by name: properties, and the values of those of which it knows only some. Data alone."""

from __future__ import annotations

import re

COLOURS = frozenset({"fill", "stroke", "color", "stop-color", "flood-color", "lighting-color"})
SHARES = frozenset({"opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "flood-opacity"})
GEOMETRY = frozenset({"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry"})
LENGTHS = GEOMETRY | {"stroke-width", "stroke-dashoffset", "stroke-dasharray", "font-size"}
# Attributes that are lengths as well, but no style.
LENGTH_ATTRIBUTES = frozenset({"x1", "y1", "x2", "y2", "fx", "fy", "fr", "refX", "refY", "markerWidth", "markerHeight"})
FUNCTIONS_OF_FILTERS = frozenset(
    {
        "blur",
        "brightness",
        "contrast",
        "drop-shadow",
        "grayscale",
        "hue-rotate",
        "invert",
        "opacity",
        "saturate",
        "sepia",
    }
)
OTHERS = frozenset(
    {
        "clip-path",
        "clip-rule",
        "color-interpolation",
        "color-interpolation-filters",
        "color-rendering",
        "display",
        "enable-background",
        "fill-rule",
        "filter",
        "image-rendering",
        "isolation",
        "marker",
        "marker-end",
        "marker-mid",
        "marker-start",
        "mask",
        "mask-type",
        "overflow",
        "paint-order",
        "shape-rendering",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-miterlimit",
        "transform",
        "visibility",
        "d",
    }
)
DRAWN = COLOURS | SHARES | LENGTHS | OTHERS | {"mix-blend-mode", "transform-origin"}
# What changes nothing but text, which is not drawn, what a pointer does, or where on a page the whole drawing stands.
WITHOUT_EFFECT = re.compile(
    r"--.*|-(?:inkscape|ms|moz|o|khtml|apple)-.*|mso-.*|font(?:-(?!size\Z).*)?|text(?:-.*)?|letter-spacing|word-.*"
    r"|line-(?:height|break)|white-space.*|writing-mode|direction|unicode-.*|glyph-.*|(?:alignment|dominant)-baseline"
    r"|baseline-shift|kerning|hyphens|tab-size|quotes|src|ruby-.*|shape-(?:inside|padding|margin|subtract|outside)|solid-.*"
    r"|cursor|pointer-events|user-select|touch-action|transition.*|will-change|(?:margin|padding|border|outline)(?:-.*)?"
    r"|(?:min|max)-.*|inline-size|position|top|right|bottom|left|float|clear|vertical-align|flex.*|align-.*|justify-.*"
    r"|gap|order|grid.*|box-sizing|page-.*|break-.*|orphans|widows|color-(?:adjust|profile)|print-color-adjust"
    r"|scroll.*|accent-color|caret-.*|resize|appearance|list-style.*|object-position"
)
# What matters of these is only whether they have one of these values, which change nothing.
ONLY = {
    "animation": frozenset({"none"}),
    "backdrop-filter": frozenset({"none"}),
    "clip": frozenset({"auto"}),
    "content-visibility": frozenset({"visible", "auto"}),
    "image-orientation": frozenset({"from-image", "none"}),
    "mask-image": frozenset({"none"}),
    "object-fit": frozenset({"fill"}),
    "offset-path": frozenset({"none"}),
    "perspective": frozenset({"none"}),
    "rotate": frozenset({"none"}),
    "scale": frozenset({"none"}),
    "transform-box": frozenset({"view-box"}),
    "transform-style": frozenset({"flat"}),
    "translate": frozenset({"none"}),
    "vector-effect": frozenset({"none"}),
    "zoom": frozenset({"1", "normal", "100%"}),
    "mix-blend-mode": frozenset(
        {"normal", "multiply", "screen", "overlay", "darken", "lighten", "color-dodge", "color-burn", "hard-light"}
        | {"soft-light", "difference", "exclusion", "hue", "saturation", "color", "luminosity"}
    ),
}
ONLY_A_COLOUR = frozenset({"background", "background-color"})  # behind the drawing; a picture there is another matter
VENDOR = re.compile(r"-(?:webkit|moz)-(?=mask|clip|transform|filter|animation)")
MEANT_FOR_ALL = frozenset({"initial", "unset", "revert", "revert-layer"})
INHERITED = frozenset(
    {"fill", "stroke", "color", "visibility", "clip-rule", "fill-rule", "paint-order", "font-size", "shape-rendering"}
    | {"fill-opacity", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap"}
    | {"stroke-linejoin", "stroke-miterlimit", "marker-start", "marker-mid", "marker-end", "image-rendering"}
    | {"color-interpolation", "color-interpolation-filters"}
)
INITIAL = {
    "fill": "black",
    "stroke": "none",
    "color": "black",
    "stop-color": "black",
    "flood-color": "black",
    "lighting-color": "white",
    "visibility": "visible",
    "display": "inline",
    "fill-rule": "nonzero",
    "clip-rule": "nonzero",
    "stroke-width": "1",
    "stroke-dasharray": "none",
    "stroke-dashoffset": "0",
    "mix-blend-mode": "normal",
    **dict.fromkeys(SHARES, "1"),
    **dict.fromkeys(("clip-path", "mask", "filter", "marker-start", "marker-mid", "marker-end", "transform"), "none"),
}
