"""Where the objects of a database are made: the statement that creates one, in a folder of migrations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_FULL_NAME = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_WORDS = r"(?:or replace|unique|global|local|temp|temporary|unlogged|foreign|materialized|recursive|constraint|event)"
_KINDS = r"(?:table|view|function|procedure|policy|index|trigger|type|domain|sequence|schema|extension|publication)"
_CREATES = re.compile(
    rf"^[ \t]*create\s+(?:{_WORDS}\s+)*(?P<kind>{_KINDS})\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?(?P<name>{_FULL_NAME})"
    rf"(?P<on>[^;$]*?\bon\s+(?:only\s+)?(?P<table>{_FULL_NAME}))?",
    re.IGNORECASE | re.MULTILINE,
)
_ON_A_TABLE = {"policy", "trigger", "index"}


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    uri: str
    """The path from the repository's root, as an address writes it."""
    line: int
    column: int
    """Of the first character; the region ends with the line."""
    end: int
    """The column behind the line's last character."""


@dataclass(frozen=True)
class Named:
    """An object as a finding names it."""

    kind: str
    """function, policy, column, … in SQL's word; relation where only the catalog knows which kind."""
    name: tuple[str, ...]
    """Its parts, without quotes."""
    table: tuple[str, ...] = ()
    """The table that it is on."""


def named(text: str) -> Named:
    """Read an object's name: public.messages, private.f(integer), policy "own rows" on public.messages."""
    if on := re.match(
        rf"(?P<kind>[a-z]+(?: [a-z]+)*?) (?P<name>{_FULL_NAME}) on (?P<table>{_FULL_NAME})$", text.strip(), re.IGNORECASE
    ):
        return Named(on["kind"].lower(), _parts(on["name"]), _parts(on["table"]))
    if called := re.match(rf"(?:(?:function|procedure) )?(?P<name>{_FULL_NAME})\(.*\)$", text.strip(), re.DOTALL):
        return Named("function", _parts(called["name"]))
    if one := re.match(rf"(?:(?P<kind>[a-z]+(?: [a-z]+)*?) )?(?P<name>{_FULL_NAME})$", text.strip()):
        parts = _parts(one["name"])
        return Named(one["kind"] or ("column" if len(parts) > 2 else "relation"), parts)
    return Named("object", (text,))


class Sources:
    """The migrations in a folder; the last statement that creates an object is where it is made."""

    def __init__(self, folder: str) -> None:
        """Read the SQL files of a folder; one that is not there has none."""
        self._elsewhere = Place(_uri(Path(folder)), 1, 1, 2)
        self._made: dict[tuple[str, str, str], list[tuple[str, Place]]] = {}
        for path in sorted(Path(folder).rglob("*.sql")) if Path(folder).is_dir() else []:
            try:
                self._read(path)
            except OSError:
                continue

    def place(self, what: Named) -> Place:
        """Return where an object is made; the folder itself where no statement creates it by that name."""
        if what.kind in _ON_A_TABLE:
            found = self._find(what.kind, what.name, what.table[-1]) or self._find("relation", what.table)
        elif what.kind == "function":
            found = self._find("function", what.name)
        else:
            found = self._find("relation", what.table or what.name[:2]) or self._find("relation", what.name[:1])
            found = found or self._find(what.kind, what.name)
        return found or self._elsewhere

    def _find(self, kind: str, name: tuple[str, ...], table: str = "") -> Place | None:
        schema = name[-2] if len(name) > 1 else ""
        places = self._made.get((kind, name[-1], table), []) if name else []
        return next((place for where, place in reversed(places) if not where or not schema or where == schema), None)

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        uri = _uri(path)
        for kind, name, table, start in _created(text):
            begin = text.rfind("\n", 0, start) + 1
            end = text.find("\n", start)
            line = text[begin : len(text) if end < 0 else end].rstrip()
            where = Place(uri, text.count("\n", 0, begin) + 1, start - begin + 1, len(line) + 1)
            schema = name[-2] if len(name) > 1 else ""
            self._made.setdefault((kind, name[-1], table), []).append((schema, where))


def _created(text: str) -> Iterator[tuple[str, tuple[str, ...], str, int]]:
    for match in _CREATES.finditer(text):
        kind = match["kind"].lower()
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        table = _parts(match["table"])[-1] if kind in _ON_A_TABLE and match["table"] else ""
        group = {"table": "relation", "view": "relation", "procedure": "function"}.get(kind, kind)
        yield group, _parts(match["name"]), table, start
        if kind == "index":
            yield "relation", _parts(match["name"]), "", start


def _parts(name: str) -> tuple[str, ...]:
    # What stands in quotes is as it is; the rest is lower case to the server.
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in re.findall(_NAME, name))


def _uri(path: Path) -> str:
    """Return a path from the root of the repository that it lies in; one outside of any stays as it is."""
    here = path.resolve()
    for above in here.parents:
        if (above / ".git").exists():
            return quote(here.relative_to(above).as_posix())
    return here.as_uri() if path.is_absolute() else quote(path.as_posix())
