"""One picture: the look that all charts and diagrams share, their heads, and their SVG."""

import hashlib
import io
import re
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

BEFORE = "#D55E00"
AFTER = "#0072B2"
LIMIT = "#8C8C8C"
INK = "#222222"
"""Becomes the colour of the text around the picture, which may be light on a dark page."""
PAPER = "#FFFFFF"
"""The background, which a dark page takes away; never under a text that is not in ink."""
ON_LIGHT = "#111111"
"""Text on a light colour, whatever the page's."""
QUIET: dict[str, Any] = {"color": INK, "alpha": 0.72}
"""Captions."""

WIDTH = 6.6
"""In inches: 634 pixels, so that a telephone still shows the text large enough to read."""
BIG, NORMAL, SMALL = 12.0, 9.5, 8.5
"""In points; a page's pixel is three quarters of one."""
LONGEST_TITLE, LONGEST_SUBTITLE = 85, 110

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "text.color": INK,
    "axes.edgecolor": LIMIT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": NORMAL,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": NORMAL,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "figure.facecolor": PAPER,
    "hatch.linewidth": 0.8,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "schema workbook",
}

_FONTS = {"'DejaVu Sans'": "'DejaVu Sans', Verdana, sans-serif", "'DejaVu Sans Mono'": "'DejaVu Sans Mono', Consolas, monospace"}
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_SHAPES = {f"{_SVG}{name}" for name in ("path", "rect", "use", "circle")}


class Chart:
    """A finished picture."""

    def __init__(self, figure: Figure, alt: str, *, is_for_readme: bool = False) -> None:
        self.figure = figure
        self.alt = alt
        """What a screen reader says in the picture's place."""
        self._is_for_readme = is_for_readme
        self.data: dict[str, object] = {}
        """What else the notebook keeps with the picture, by its MIME type."""

    def svg(self) -> str:
        """Return the picture as an element that stands by itself, or in a page among others.

        It takes the page's colour of text where `svg.chart` inherits it, and no background where `.paper` has no fill.
        """
        buffer = io.StringIO()
        with rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _for_a_page(buffer.getvalue(), self.alt, self.figure)

    def png(self) -> bytes:
        """Return the picture as a PNG with two pixels for each of the page's."""
        buffer = io.BytesIO()
        with rc_context(STYLE):
            self.figure.savefig(buffer, format="png", dpi=192, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return self.data

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_png_(self) -> bytes | None:
        return self.png() if self._is_for_readme else None

    def __repr__(self) -> str:
        return "<chart>"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text's longest line is, in points."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Return a text with line breaks between words, so that it is no wider than so many points where its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size, bold=bold) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _balanced(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Return a text in as few lines as the width allows, and those about equally long."""
    best = wrapped(text, width, size, bold=bold)
    while (next_one := wrapped(text, width := 0.96 * width, size, bold=bold)).count("\n") == best.count("\n") and "\n" in best:
        best = next_one
    return best


def finished(
    figure: Figure, title: str, subtitle: str, *, below: float = 0, is_bare: bool = False, is_for_readme: bool = False
) -> Chart:
    """Write the head, and grow the figure by the room that it takes.

    Args:
        title: the finding, as a sentence.
        subtitle: rows, runs and statistic, or how to read it.
        below: inches that a legend takes under the axes.
        is_bare: the axes have nothing around them, and fill what the head leaves.
        is_for_readme: show the picture as a PNG too.

    Raises:
        ValueError: title or subtitle is too long.
    """
    if len(title) > LONGEST_TITLE or len(subtitle) > LONGEST_SUBTITLE:
        raise ValueError(
            f"a title has {LONGEST_TITLE} characters at the most, a subtitle {LONGEST_SUBTITLE}: {title} / {subtitle}"
        )
    # Another font of the reader's may be a little wider.
    room = 0.95 * 72 * figure.get_figwidth() - 8
    lines = [(_balanced(title, room, BIG, bold=True), BIG, 0.08), (_balanced(subtitle, room, NORMAL), NORMAL, 0.05)]
    head = sum(gap + (1 + text.count("\n")) * 1.25 * size / 72 for text, size, gap in lines) + 0.1
    body = figure.get_figheight() + below
    height = body + head
    figure.set_figheight(height)
    down = 0.0
    for text, size, gap in lines:
        look = {"fontweight": "bold"} if size == BIG else QUIET
        figure.text(
            8 / 72 / figure.get_figwidth(), 1 - (down + gap) / height, text, va="top", fontsize=size, linespacing=1.25, **look
        )
        down += gap + (1 + text.count("\n")) * 1.25 * size / 72
    if is_bare:
        for ax in figure.axes:
            ax.set_position((0, 0, 1, body / height))
    else:
        figure.tight_layout(pad=0.6, rect=(0, below / height, 1, body / height))
    return Chart(figure, f"{title}. {subtitle}", is_for_readme=is_for_readme)


def _for_a_page(svg: str, alt: str, figure: Figure) -> str:
    """Return matplotlib's SVG as an element for a page: no style sheet, no id that another picture has, the page's colours."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', svg))
    prefix = f"c{hashlib.sha256(svg.encode()).hexdigest()[:8]}-"
    for element in root.iter():
        _adapt(element, prefix, used)
    wide, high = (round(96 * inches) for inches in figure.get_size_inches())
    attributes = {
        "class": "chart",
        "role": "img",
        "aria-label": alt,
        "color": INK,
        "font-family": _FONTS["'DejaVu Sans'"],
        "stroke-linejoin": "round",
        "width": str(wide),
        "height": str(high),
        "viewBox": root.attrib["viewBox"],
    }
    root.attrib.clear()
    root.attrib.update(attributes)
    ElementTree.register_namespace("", _SVG.strip("{}"))
    said = ElementTree.Element(f"{_SVG}title")
    said.text = alt
    root.insert(0, said)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))


def _adapt(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    attributes = element.attrib
    name = attributes.pop("id", None)
    if name in used:
        attributes["id"] = prefix + name
    if _LINK in attributes:
        attributes["href"] = f"#{prefix}{attributes.pop(_LINK)[1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("#", f"#{prefix}")
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    for key in ("d", "x", "y", "transform"):
        if key in attributes:
            attributes[key] = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", attributes[key]).strip()
            attributes[key] = attributes[key].replace(" \n", " ")
    style = dict(part.split(": ", 1) for part in attributes.pop("style", "").split("; ") if part)
    for key, value in style.items():
        style[key] = "currentColor" if value == INK else value.replace("url(#", f"url(#{prefix}")
    family = style.pop("font-family", "")
    if "Mono" in family:
        style["font-family"] = _FONTS[family]
    if element.tag in _SHAPES and style.get("fill") == PAPER.lower():
        del style["fill"]
        attributes |= {"class": "paper", "fill": PAPER}
    if style:
        attributes["style"] = "; ".join(f"{key}: {value}" for key, value in style.items())
