"""Slide decks of reveal.js: one for the whole review, one a chapter; what stands on a slide comes from the notebooks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode

from .. import costs, fixes
from ..catalogue import SEVERITIES, all_issues, beyond
from ..clients import declared
from ..report import Executed, chapters, outputs
from .pages import board_of, headline, issues, of_severity, page, table

LONGEST_OUTPUT = 9
"""Lines of an output, or rows of a table, on a slide."""


def decks(runs: list[Executed]) -> dict[str, str]:
    """Return the text of each deck in MyST's Markdown, by its name, and of the page that leads to them."""
    by_chapter = {run.path.stem: _deck(run.notebook) for run in runs if run.path in chapters()}
    by_name = {"review": _review(runs)} | by_chapter
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
            said = _first_paragraph(parts["Evidence"].text)
            slides.append(f"## {heading}\n{_first_paragraph(parts['Problem'].text)}\n\n{said}\n\n{shown}")
            proof = parts.get("Proof", _Part("")).outputs
            slides.append(f"## {heading}: fixed\n{_first_paragraph(parts['Fix'].text)}\n\n{_shown(proof[-1]) if proof else ''}")
        else:
            said = next((_shown(output) for part in parts.values() for output in part.outputs if not _is_picture(output)), "")
            if not any(part.outputs for part in parts.values()):
                continue
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
    paragraph = next((part for part in text.strip().split("\n\n") if not part.startswith(("|", "```"))), "")
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", paragraph)


def _is_picture(output: dict) -> bool:
    return "image/svg+xml" in output or "image/png" in output


def _shown(output: dict) -> str:
    """Return an output as it stands on a slide."""
    if svg := output.get("image/svg+xml"):
        return _raw(svg[svg.index("<svg") :])
    if html := output.get("text/html"):
        rows = re.findall(r"<tr\b.*?</tr>", html, re.DOTALL)
        left = len(rows) - LONGEST_OUTPUT - 1
        more = f"<p class='more'>and {left} more</p>" if left > 0 else ""
        return _raw(f"<table>{''.join(rows[: LONGEST_OUTPUT + 1])}</table>{more}")
    lines = output.get("text/plain", "").rstrip().splitlines()
    return "```text\n" + "\n".join(lines[:LONGEST_OUTPUT] + ["…"] * (len(lines) > LONGEST_OUTPUT)) + "\n```"


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


# --- The whole review ---------------------------------------------------------------------------------------------

HIGH_ON_A_SLIDE, DEAREST = 7, 6


def _review(runs: list[Executed]) -> str:
    """Return the deck of ten minutes: what was found, the high ones, what they cost, and the way to a live database."""
    board = board_of(runs)
    high = [issue for issue in issues().values() if issue.severity == "high"]
    groups = [high[first : first + HIGH_ON_A_SLIDE] for first in range(0, len(high), HIGH_ON_A_SLIDE)]
    dearest = sorted(costs.costs().items(), key=lambda entry: -entry[1].seconds)[:DEAREST]
    return page(
        "review",
        reviewed=len(all_issues()),
        beyond=len(beyond()),
        headline=headline(board),
        pictures={
            "scoreboard": _picture(runs, "00_", 1),
            "rollout": _picture(runs, "15_", 0),
            "writes": _picture(runs, "12_", 0),
        },
        counts=table(("severity", "flaws", *board["results"]), _counts(board)),
        high=[
            (
                high.index(group[0]) + 1,
                high.index(group[-1]) + 1,
                table(("#", "issue", "what one sees"), [(issue.number, issue.title, issue.symptom) for issue in group]),
            )
            for group in groups
        ],
        all_high=len(high),
        statements=len(declared()),
        broken=sum(bool(client.until) for client in declared()),
        locks=table(
            ("fix", "holds its locks for"),
            [(fixes.find(number).path.name, f"{cost.seconds:.2g} s") for number, cost in dearest],
        ),
    )


def _picture(runs: list[Executed], notebook: str, place: int) -> str:
    """Return one of a notebook's pictures, counted from 0."""
    of_it = [run for run in runs if run.path.name.startswith(notebook)]
    return _shown({"image/svg+xml": list(outputs(of_it, "image/svg+xml"))[place]})


def _counts(board: dict) -> Iterator[tuple[object, ...]]:
    for severity in SEVERITIES:
        numbers = of_severity(severity)
        shown = (sum(seen[str(number)] is not None for number in numbers) for seen in board["results"].values())
        yield (severity, len(numbers), *shown)
