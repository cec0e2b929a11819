"""A Sphinx extension: each mention of an issue and the first one of a glossary's term in a chapter are links."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from docutils import nodes
from sphinx.addnodes import glossary, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from ..catalogue import all_issues, beyond

_VERBS = "meets?|ties|makes|made|allows|wants|had|has|says|asks|adds?|have"
_UNITS = "bytes|ms|s|MB|GB|rows|characters|messages|clients|learners|sessions|days|months|weeks|minutes|seconds|times|runs"
_LIST = r"\d{1,2}(?:(?:, | and |, and | or | to |–)\d{1,2})*"
NAMED = re.compile(rf"\b[Ii]ssues? {_LIST}|\b[Ff]ix(?:es)? {_LIST}|\b[Ss]ections? {_LIST}|\bB\d\b")
"""Where a text names issues, by their number: issue 35, fixes 5 and 7, B2."""
MEETING = re.compile(
    rf"{NAMED.pattern}|(?<!PostgreSQL )(?<!number )\b{_LIST} (?={_VERBS}\b)"
    rf"|(?:\b[Mm]eets|\b[Ss]ince|\b[Ww]ith|\bDoing) {_LIST}(?! (?:{_UNITS})\b)(?!\d|%|[.:,]\d)"
)
"""And where a chapter lets them meet by the bare number: where 22 meets 3, since 42."""

# Whatever stands in these is no prose.
_NOT_PROSE = (
    nodes.literal,
    nodes.literal_block,
    nodes.reference,
    pending_xref,
    nodes.title,
    nodes.raw,
    nodes.comment,
    nodes.term,
)


def anchor(title: str) -> str:
    """Return a heading's anchor, as JupyterLab makes it."""
    return title.replace(" ", "-")


def issue_numbers(text: str, pattern: re.Pattern[str] = NAMED) -> Iterator[tuple[int, int, int]]:
    """Yield for each issue that a text names where it is named, beginning and end, and its number."""
    of_letter = {issue.title.split(" ")[0]: issue.number for issue in beyond()}
    known = {issue.number for issue in (*all_issues(), *beyond())}
    for mention in pattern.finditer(text):
        if mention[0] in of_letter:
            yield *mention.span(), of_letter[mention[0]]
            continue
        for place, number in enumerate(re.finditer(r"\d{1,2}", mention[0])):
            if int(number[0]) in known:
                # The word belongs to the first number's link.
                word = re.match(r"(?:issue|fix|section)e?s? ", mention[0], re.IGNORECASE)
                start = 0 if place == 0 and word else number.start()
                yield mention.start() + start, mention.start() + number.end(), int(number[0])


class LinkIssues(SphinxTransform):
    """Make a link of each mention of an issue."""

    default_priority = 420

    def apply(self, **_: Any) -> None:
        """Replace the texts of a document."""
        for text in _prose(self.document):
            found = issue_numbers(text, MEETING if self.env.docname.startswith("notebooks/") else NAMED)
            spans = [(start, end, _issue_link(number, self.env.docname)) for start, end, number in found]
            _replace(text, spans)


class LinkTerms(SphinxTransform):
    """Make a link of the first mention of each term of the glossary."""

    default_priority = 421

    def apply(self, **_: Any) -> None:
        """Replace the texts of a document."""
        missing = {name: pattern for name, (pattern, where) in self.config.workbook_terms.items() if where in self.env.docname}
        for code in list(self.document.findall(nodes.literal)):
            # Some terms are code.
            name = next((name for name, pattern in missing.items() if re.fullmatch(pattern, code.astext())), None)
            if name and _is_prose(code):
                link = _term_link(name, self.env.docname)("")
                code.replace_self(link)
                link.replace(link[0], code)
                del missing[name]
        for text in _prose(self.document):
            spans: list[tuple[int, int, Callable[[str], nodes.Node]]] = []
            for name, pattern in list(missing.items()):
                found = re.search(pattern, text)
                if found and not any(found.start() < end and start < found.end() for start, end, _ in spans):
                    spans.append((*found.span(), _term_link(name, self.env.docname)))
                    del missing[name]
            _replace(text, sorted(spans, key=lambda span: span[0]))


def _prose(document: nodes.document) -> list[nodes.Text]:
    return [text for text in document.findall(nodes.Text) if _is_prose(text)]


def _is_prose(node: nodes.Node) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, (*_NOT_PROSE, glossary)) or "cell_input" in node.get("classes", []):
            return False
    return True


def _replace(text: nodes.Text, spans: list[tuple[int, int, Callable[[str], nodes.Node]]]) -> None:
    if not spans:
        return
    parts: list[nodes.Node] = []
    done = 0
    for start, end, link in spans:
        parts += [nodes.Text(text[done:start]), link(text[start:end])]
        done = end
    text.parent.replace(text, [*parts, nodes.Text(text[done:])])


def _issue_link(number: int, document: str) -> Callable[[str], nodes.Node]:
    return _reference("ref", f"issue-{number}", document)


def _term_link(name: str, document: str) -> Callable[[str], nodes.Node]:
    return _reference("term", name, document)


def _reference(kind: str, target: str, document: str) -> Callable[[str], nodes.Node]:
    def reference(text: str) -> nodes.Node:
        link = pending_xref("", refdomain="std", reftype=kind, reftarget=target, refdoc=document, refexplicit=True, refwarn=True)
        link += nodes.inline("", text, classes=["xref", "std", f"std-{kind}"])
        return link

    return reference


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of both; a deck has no sections to lead to."""

    def add_transforms(app: Sphinx) -> None:
        if app.builder.name == "html":
            app.add_transform(LinkIssues)
            app.add_transform(LinkTerms)

    app.add_config_value("workbook_terms", {}, "env", dict)
    app.connect("builder-inited", add_transforms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
