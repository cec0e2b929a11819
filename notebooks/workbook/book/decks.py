"""Slide decks of reveal.js: one for the whole review, one a chapter; what stands on a slide comes from the notebooks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode

from .. import costs, fixes, writes
from ..catalogue import all_issues, beyond
from ..report import Executed, outputs
from .pages import BOARD, KINDS, kinds, of_severity, table

LONGEST_OUTPUT = 9
"""Lines of an output, or rows of a table, on a slide."""


def decks(runs: list[Executed]) -> dict[str, str]:
    """Return the text of each deck in MyST's Markdown, by its name, and of the page that leads to them."""
    chapters = {run.path.stem: _deck(run.notebook) for run in runs if 0 < int(run.path.name[:2]) < 13}
    by_name = {"review": _review(runs)} | chapters
    links = "\n".join(f"- [{text.splitlines()[0].lstrip('# ')}]({name}.md)" for name, text in by_name.items())
    index = f"# Slides\nArrow keys and space go on, `?` lists the keys.\n\n{links}\n"
    return {"index": f"{index}\n```{{toctree}}\n:hidden:\n\n{chr(10).join(by_name)}\n```\n"} | by_name


# --- A chapter ----------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """A part of a section: its words, and what its cells say."""

    text: str
    outputs: list[dict] = field(default_factory=list)


def _deck(notebook: NotebookNode) -> str:
    """Return a chapter's deck: what breaks and how it looks, then the fix and its proof; each picture on a slide."""
    sections = _sections(notebook)
    title, start = next(sections)
    slides = [f"# {title}\n{_first_paragraph(start[''].text)}"]
    for heading, parts in sections:
        if "Problem" in parts:
            shown = next((_shown(output) for output in parts["Evidence"].outputs), "")
            slides.append(f"## {heading}\n{_first_paragraph(parts['Problem'].text)}\n\n{shown}")
            proof = parts.get("Proof", _Part("")).outputs
            slides.append(f"## {heading}: fixed\n{_first_paragraph(parts['Fix'].text)}\n\n{_shown(proof[-1]) if proof else ''}")
        else:
            said = next((_shown(output) for part in parts.values() for output in part.outputs if not _is_picture(output)), "")
            slides.append(f"## {heading}\n{_first_paragraph(next(iter(parts.values())).text)}\n\n{said}")
        slides += [f"## {heading}\n{_shown(output)}" for part in parts.values() for output in part.outputs if _is_picture(output)]
    return "\n\n".join(slides)


def _sections(notebook: NotebookNode) -> Iterator[tuple[str, dict[str, _Part]]]:
    """Yield each section's heading and its parts by their headings; what comes before the first one has no name."""
    heading, parts = "", {"": _Part("")}
    current = parts[""]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            current.outputs += [output.get("data", {"text/plain": output.get("text", "")}) for output in cell.outputs]
            continue
        for text in re.split(r"(?m)^(?=#{1,3} )", cell.source):
            if found := re.match(r"(#{1,2}) ([^\n]+)\n?(.*)", text, re.DOTALL):
                if heading:
                    yield heading, parts
                current = _Part(found[3])
                heading, parts = found[2], {"": current}
            elif found := re.match(r"### ([^\n]+)\n?(.*)", text, re.DOTALL):
                current = parts.setdefault(found[1], _Part(found[2]))
            else:
                current.text += f"\n\n{text}"
    yield heading, {name: part for name, part in parts.items() if name or part.text.strip() or part.outputs or len(parts) == 1}


def _first_paragraph(text: str) -> str:
    """Return the first paragraph, its links as their words."""
    paragraph = next((part for part in text.strip().split("\n\n") if not part.startswith(("|", "- ", "```"))), "")
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", paragraph)


def _is_picture(output: dict) -> bool:
    return "image/svg+xml" in output or "image/png" in output


def _shown(output: dict) -> str:
    """Return an output as it stands on a slide."""
    if svg := output.get("image/svg+xml"):
        return _raw(svg[svg.index("<svg") :])
    if html := output.get("text/html"):
        rows = re.findall(r"<tr>.*?</tr>", html, re.DOTALL)
        left = len(rows) - LONGEST_OUTPUT - 1
        more = f"<p class='more'>and {left} more</p>" if left > 0 else ""
        return _raw(f"<table>{''.join(rows[: LONGEST_OUTPUT + 1])}</table>{more}")
    lines = output.get("text/plain", "").rstrip().splitlines()
    return "```text\n" + "\n".join(lines[:LONGEST_OUTPUT] + ["…"] * (len(lines) > LONGEST_OUTPUT)) + "\n```"


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


# --- The whole review ---------------------------------------------------------------------------------------------


def _review(runs: list[Executed]) -> str:
    """Return the deck of ten minutes: what was found, the high ones, what they cost, and the way to a live database."""
    board = next(outputs(runs, BOARD))
    by_kind = kinds(board)
    high = [issue for issue in (*all_issues(), *beyond()) if issue.severity == "high"]
    dearest = sorted(costs.costs().items(), key=lambda entry: -entry[1].seconds)[:6]
    slides = [
        f"# A schema review, made true\n{len(all_issues())} issues in the database of a chat app, and {len(beyond())} that the review does not mention: each "
        "happens on a real PostgreSQL, is fixed, and is proved gone.",
        f"## The scoreboard\n{table(('', 'v1', 'as proposed', 'v2'), _counts(board))}",
        "## What the review's own SQL leaves\n"
        + table(("those that", "flaws"), [(f"{sign} {meaning}", len(by_kind[kind])) for kind, (sign, meaning) in KINDS.items()]),
    ]
    for first in range(0, len(high), 7):
        rows = [(issue.number, issue.title, issue.symptom) for issue in high[first : first + 7]]
        slides.append(f"## The high ones, {first + 1} to {first + len(rows)} of {len(high)}\n{table(('#', 'issue', 'what one sees'), rows)}")
    slides += [
        f"## What they cost: writes\n{writes.summary()}",
        "## What they cost: locks\n"
        + table(("fix", "holds its locks for"), [(fixes.find(number).path.name, f"{cost.seconds:.2g} s") for number, cost in dearest])
        + "\n\nAt a million messages; the other fixes take less.",
    ]
    rollout = next(run.notebook for run in runs if run.path.name.startswith("15_"))
    pictures = [output for _, parts in _sections(rollout) for part in parts.values() for output in part.outputs if _is_picture(output)]
    slides += [f"## On a live database\n{_shown(picture)}" for picture in pictures[:2]]
    slides.append(
        "## The way\n1. `make audit`: which issues does our database have?\n2. `make rollout STEP=plan`: what stops it?\n"
        "3. A rehearsal on a copy, there and back.\n4. Start, copy, switch; old clients keep v1's answers.\n5. Back, or finish."
    )
    return "\n\n".join(slides)


def _counts(board: dict) -> Iterator[tuple[object, ...]]:
    numbers = {severity: of_severity(severity) for severity in ("high", "medium", "low")}
    for severity, those in numbers.items():
        yield (f"{severity} ({len(those)})", *(sum(seen[str(number)] is not None for number in those) for seen in board["results"].values()))
