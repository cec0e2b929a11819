"""Expressions as PostgreSQL prints them: conditions, branches, sub-selects, and the calls that ask for the caller."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

Group = tuple
"""Tokens, and groups: what stands between two parentheses, or brackets."""

_TOKEN = re.compile(
    r"""\s+|(?P<token>[eE]?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*|\d+(?:\.\d+)?|::"""
    r"""|[()\[\],.;]|[^\s\w'"()\[\],.;:]+|:)"""
)


@dataclass(frozen=True)
class Call:
    """A call that tells something of the caller."""

    name: str
    """With its schema, such as auth.uid."""
    arguments: Group


@dataclass(frozen=True)
class Reader:
    """Finds the calls that ask for the caller; knows which of a database's own functions do."""

    own: frozenset[str]
    """Functions of the database's own, with their schemas, that call auth.uid() or its like."""

    def calls(self, group: Group) -> Iterator[Call]:
        """Yield the calls that ask for the caller, at any depth."""
        for place, token in enumerate(group):
            if isinstance(token, tuple):
                yield from self.calls(token)
                name = name_before(group, place)
                if name and self.asks(name, token):
                    yield Call(name, token)

    def asks(self, name: str, arguments: Group) -> bool:
        """Tell whether a call asks for the caller."""
        schema, _, function = name.rpartition(".")
        if schema == "auth" or name in self.own:
            return True
        # The API's settings, and those that a backend sets for whom it acts; the role is nobody in particular.
        return function == "current_setting" and bool(arguments) and str(arguments[0]).lower() not in ("'role'", "'is_superuser'")

    def asks_per_row(self, expression: str | None) -> list[str]:
        """Return the calls, such as auth.uid, that are made outside a sub-select that reads no table."""
        return [] if expression is None else sorted({call.name for call in self._per_row(_parsed(expression))})

    def _per_row(self, group: Group) -> Iterator[Call]:
        for place, token in enumerate(group):
            if not isinstance(token, tuple):
                continue
            is_subselect = bool(token) and str(token[0]).lower() == "select"
            # One that reads a table may be evaluated for each row, and what it asks with it.
            if is_subselect and "from" not in [str(word).lower() for word in token if isinstance(word, str)]:
                continue
            name = name_before(group, place)
            # What is told of the row cannot be asked once.
            if name and self.asks(name, token) and not (name in self.own and names_a_column(token)):
                yield Call(name, token)
            yield from self._per_row(token)

    def without_calls(self, group: Group) -> Group:
        """Return a group with the calls that ask for the caller taken out."""
        kept: list = []
        for place, token in enumerate(group):
            if isinstance(token, tuple):
                name = name_before(group, place)
                if name and self.asks(name, token):
                    for _ in range(2 * name.count(".") + 1):
                        kept.pop()
                    continue
                kept.append(self.without_calls(token))
            else:
                kept.append(token)
        return tuple(kept)


# --- Reading ------------------------------------------------------------------------------------------------------


def parsed(expression: str) -> Group:
    """Return an expression as tokens, and groups of them where parentheses stand."""
    return bare(_parsed(expression))


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> Group:
    stack: list[list] = [[]]
    place = 0
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        place = found.end() if found else place + 1
        token = found["token"] if found else None
        if token is None:
            continue
        if token in "([":
            stack.append([])
        elif token in ")]" and len(stack) > 1:
            group = tuple(stack.pop())
            stack[-1].append(group)
        else:
            stack[-1].append(token)
    while len(stack) > 1:
        group = tuple(stack.pop())
        stack[-1].append(group)
    return tuple(stack[0])


def bare(group: Group) -> Group:
    """Take away the parentheses around the whole, but for those of a sub-select."""
    while len(group) == 1 and isinstance(group[0], tuple) and str(group[0][:1]).lower() != "('select',)":
        group = group[0]
    return group


def words_of(group: Group) -> list[str]:
    """Return all tokens, in lower case and without the quotes around names, parentheses as tokens of their own."""
    return [token if token.startswith("'") else token.lower().strip('"') for token in _flat(group)]


def subselects(group: Group) -> Iterator[Group]:
    """Yield the sub-selects that read tables, the outer ones first."""
    for token in group:
        if isinstance(token, tuple):
            if token and str(token[0]).lower() == "select" and "from" in words_of(token):
                yield token
            yield from subselects(token)


def without_subselects(group: Group) -> Group:
    """Return a group with the sub-selects that read tables taken out."""
    return tuple(
        without_subselects(token) if isinstance(token, tuple) else token
        for token in group
        if not (isinstance(token, tuple) and token and str(token[0]).lower() == "select" and "from" in words_of(token))
    )


def split(group: Group, *separators: str) -> list[Group]:
    """Split at words of this level, not inside CASE."""
    parts: list[list] = [[]]
    depth = 0
    for token in group:
        lower = token.lower() if isinstance(token, str) else ""
        depth += {"case": 1, "end": -1}.get(lower, 0)
        if lower in separators and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def name_before(group: Group, place: int) -> str:
    """Return the name, with its schema, that stands before an argument list; empty where there is none."""
    words: list[str] = []
    place -= 1
    while place >= 0 and isinstance(group[place], str) and re.match(r'[\w"]', group[place]):
        words.insert(0, group[place].strip('"'))
        if place == 0 or group[place - 1] != ".":
            break
        place -= 2
    return ".".join(words)


_SYNTAX = frozenset(
    [
        "select",
        "as",
        "null",
        "true",
        "false",
        "is",
        "not",
        "and",
        "or",
        "array",
        "any",
        "all",
        "in",
        "between",
        "like",
        "case",
        "when",
        "then",
        "else",
        "end",
        "exists",
        "from",
    ]
)


def names_a_column(arguments: Group) -> bool:
    """Tell whether something of the row is in a group: a name that is no call, no type and no word of SQL."""
    for place, token in enumerate(arguments):
        if isinstance(token, tuple):
            if names_a_column(token):
                return True
        elif re.match(r'[A-Za-z_"]', token) and not token.startswith(("e'", "E'")):
            after = arguments[place + 1] if place + 1 < len(arguments) else None
            before = arguments[place - 1] if place else None
            if (
                token.lower() not in _SYNTAX
                and not isinstance(after, tuple)
                and after != "."
                and before not in ("::", "as", "AS")
            ):
                return True
    return False


def _flat(group: Group) -> Iterator[str]:
    for token in group:
        if isinstance(token, tuple):
            yield "("
            yield from _flat(token)
            yield ")"
        else:
            yield token


# --- Judging ------------------------------------------------------------------------------------------------------


def is_open(expression: str | None, lets_pass: Callable[[Group], bool]) -> bool:
    """Tell whether an expression lets somebody pass: of each OR one part, of each AND all, of a CASE one result.

    Args:
        expression: as pg_get_expr prints it; None asks nothing.
        lets_pass: whether one condition does.
    """
    return expression is None or _passes(_parsed(expression), lets_pass)


def _passes(group: Group, lets_pass: Callable[[Group], bool]) -> bool:
    group = bare(group)
    branches = split(group, "or")
    if len(branches) > 1:
        return any(_passes(branch, lets_pass) for branch in branches)
    conditions = split(group, "and")
    if len(conditions) > 1:
        return all(_passes(condition, lets_pass) for condition in conditions)
    words = [token.lower() if isinstance(token, str) else "" for token in group]
    if words in (["false"], ["null"], ["null", "::", "boolean"]):
        return False
    if words == ["true"]:
        return True
    if words[-2:] == ["is", "true"]:
        return _passes(group[:-2], lets_pass)
    if words[-3:] == ["is", "not", "false"]:
        # Where the answer is unknown, as it is to a visitor, that passes too.
        return True
    if words[:1] == ["case"] and words[-1:] == ["end"]:
        return any(_passes(result, lets_pass) for result in _results(group))
    if words == ["coalesce", ""]:
        return any(_passes(part, lets_pass) for part in split(group[1], ","))
    return lets_pass(group)


def _results(group: Group) -> Iterator[Group]:
    """Yield what a CASE may come to."""
    part: list | None = None
    depth = 0
    for token in group[1:]:
        word = token.lower() if isinstance(token, str) else ""
        if depth == 0 and word in ("then", "else", "when", "end"):
            if part is not None:
                yield tuple(part)
            part = [] if word in ("then", "else") else None
        elif part is not None:
            part.append(token)
        depth += {"case": 1, "end": -1}.get(word, 0)


def always(expression: str | None, holds: Callable[[Group], bool]) -> bool:
    """Tell whether a condition is asked in every branch of an expression."""
    return expression is not None and not _passes(_parsed(expression), lambda condition: not holds(condition))
