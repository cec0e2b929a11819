"""The glossary: the list at the end of the first notebook, whose terms are links in the book."""

import re
from functools import cache

import nbformat

from ..paths import NOTEBOOKS

HEADING = "## Words that come back"
_ONLY_IN = {"arm": "benchmark", "interleaved": "benchmark", "limit": "09_benchmark"}
"""Words that mean something else in other documents."""
_ENTRY = re.compile(r"(?m)^- \*\*(.+?):\*\* (.+)$")


@cache
def entries() -> dict[tuple[str, ...], str]:
    """Return what each term means, by its names: `Row-level security (RLS)` has two."""
    notebook = nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    (text,) = (cell.source for cell in notebook.cells if cell.source.startswith(HEADING))
    return {tuple(re.split(r" \(|\)(?: \()?|, ", names.rstrip(")"))): meaning for names, meaning in _ENTRY.findall(text)}


def as_directive() -> str:
    """Write the list as Sphinx's glossary."""
    lines = [line for names, meaning in entries().items() for line in (*names, f"  {meaning}", "")]
    return f"{HEADING}\n```{{glossary}}\n" + "\n".join(lines).replace("`" * 3, "") + "\n```"


def patterns() -> dict[str, tuple[str, str]]:
    """Return for each term its name, how a text uses it, and the documents in which it is looked for."""
    found = {}
    for names in entries():
        words = "|".join(re.escape(name.strip("`")) for name in names)
        found[names[0].strip("`")] = (rf"(?i:\b(?:{words})s?\b)", _ONLY_IN.get(names[0].casefold(), ""))
    return found
