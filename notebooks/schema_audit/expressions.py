"""What a policy asks, read from its expression as PostgreSQL prints it: who is calling, the row, or nothing at all."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

Token = str
Group = tuple
"""Tokens and groups: what stands between two parentheses, or brackets."""

_TOKEN = re.compile(
    r"""\s+|(?P<token>[eE]?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*|\d+(?:\.\d+)?|::|[()\[\],.;]|[^\s\w'"()\[\],.;:]+|:)"""
)


@dataclass(frozen=True)
class Call:
    """A call that tells something of the caller."""

    name: str
    """With its schema, such as auth.uid."""
    arguments: Group


@dataclass(frozen=True)
class Reader:
    """Reads expressions; knows which of a database's own functions ask who is calling."""

    own: frozenset[str]
    """Functions of the database's own, with their schemas, that call auth.uid() or its like."""
    own_asking: frozenset[str]
    """Those among them whose answer depends on who is calling, beyond having an account."""

    def is_open(self, expression: str | None, lets_pass: Callable[[Group], bool]) -> bool:
        """Tell whether somebody passes without being asked who they are.

        Args:
            expression: as pg_get_expr prints it; None asks nothing.
            lets_pass: what to think of a condition on the row alone; True where it holds nobody back.
        """
        return expression is None or self._passes(_parsed(expression), lets_pass)

    def _passes(self, group: Group, lets_pass: Callable[[Group], bool]) -> bool:
        group = _bare(group)
        branches = _split(group, "or")
        if len(branches) > 1:
            return any(self._passes(branch, lets_pass) for branch in branches)
        conditions = _split(group, "and")
        if len(conditions) > 1:
            return all(self._passes(condition, lets_pass) for condition in conditions)
        words = [token.lower() if isinstance(token, str) else token for token in group]
        if words in (["false"], ["null"], ["null", "::", "boolean"]):
            return False
        if words == ["true"]:
            return True
        if self.asks_who(group):
            return False
        return lets_pass(group)

    def asks_who(self, group: Group) -> bool:
        """Tell whether one condition's answer depends on who is calling, beyond having an account at all."""
        text = " ".join(_flat(group)).lower()
        if not any(call.name not in self.own - self.own_asking for call in self.calls(group)):
            return False
        words = [token.lower() for token in group if isinstance(token, str)]
        if words[-2:] == ["is", "null"] and not _has_from(group):
            return False
        if words[-3:] == ["is", "not", "null"] and not _has_from(group):
            return False
        # What every account has: the role, whether it is anonymous.
        if re.search(r"auth \. role \( \)|->> '(role|is_anonymous|aud)'", text):
            values = set(re.findall(r"'(\w*)'", text)) - {"role", "is_anonymous", "aud", "request", "true", "false"}
            says_more = re.search(r"auth \. (uid|email) \( \)|'(sub|email)'", text) or self._mentions_own(group)
            if values <= {"authenticated", "anon"} and not says_more:
                return False
        if "coalesce" in words and not _has_from(group):
            return False
        return _compares(group, self)

    def _mentions_own(self, group: Group) -> bool:
        return any(call.name in self.own for call in self.calls(group))

    def calls(self, group: Group) -> Iterator[Call]:
        """Yield the calls that ask for the caller, at any depth."""
        for place, token in enumerate(group):
            if isinstance(token, tuple):
                yield from self.calls(token)
                name = _name_before(group, place)
                if name and self._asks(name, token):
                    yield Call(name, token)

    def _asks(self, name: str, arguments: Group) -> bool:
        schema, _, function = name.rpartition(".")
        if schema == "auth" or name in self.own:
            return True
        return function == "current_setting" and bool(arguments) and "request." in str(arguments[0]).lower()

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
            name = _name_before(group, place)
            # What is told of the row cannot be asked once.
            if name and self._asks(name, token) and not (name in self.own and _names_a_column(token)):
                yield Call(name, token)
            yield from self._per_row(token)


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> Group:
    """Return an expression as groups of tokens."""
    stack: list[list] = [[]]
    place = 0
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        if found is None:
            place += 1
            continue
        place = found.end()
        token = found["token"]
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


def _bare(group: Group) -> Group:
    """Take away the parentheses around the whole."""
    while len(group) == 1 and isinstance(group[0], tuple) and str(group[0][:1]).lower() != "('select',)":
        group = group[0]
    return group


def _split(group: Group, word: str) -> list[Group]:
    """Split at AND or OR of this level, not inside CASE."""
    parts: list[list] = [[]]
    depth = 0
    for token in group:
        lower = token.lower() if isinstance(token, str) else ""
        depth += {"case": 1, "end": -1}.get(lower, 0)
        if lower == word and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def _flat(group: Group) -> Iterator[str]:
    for token in group:
        if isinstance(token, tuple):
            yield "("
            yield from _flat(token)
            yield ")"
        else:
            yield token


def _name_before(group: Group, place: int) -> str:
    """Return the name, with its schema, that stands before an argument list; empty where there is none."""
    words: list[str] = []
    place -= 1
    while place >= 0 and isinstance(group[place], str) and re.match(r'[\w"]', group[place]):
        words.insert(0, group[place].strip('"'))
        if place == 0 or group[place - 1] != ".":
            break
        place -= 2
    return ".".join(words)


def _has_from(group: Group) -> bool:
    return "from" in [token.lower() for token in _flat(group)]


def _names_a_column(arguments: Group) -> bool:
    """Tell whether an argument is something of the row: a name that is no call and no type."""
    for place, token in enumerate(arguments):
        if isinstance(token, tuple):
            if _names_a_column(token):
                return True
        elif re.match(r'[A-Za-z_"]', token) and not token.startswith(("e'", "E'")):
            after = arguments[place + 1] if place + 1 < len(arguments) else None
            before = arguments[place - 1] if place else None
            is_word = token.lower() in ("select", "as", "null", "true", "false", "is", "not", "and", "or", "array", "any")
            if not is_word and not isinstance(after, tuple) and after != "." and before not in ("::", "as", "AS"):
                return True
    return False


def _compares(group: Group, reader: Reader) -> bool:
    """Tell whether a condition holds the caller against something: a column, a constant, rows of a table, a claim."""
    if _has_from(group):
        return True
    left = _without_calls(group, reader)
    words = [token for token in _flat(left) if token not in ("(", ")", "=", "<>", ",", ".", "::")]
    kept = [
        word
        for word in words
        if word.lower() not in ("select", "as", "uid", "jwt", "email", "role", "is", "not", "null", "uuid", "text")
    ]
    # A function of one's own that says yes or no is the comparison itself.
    return bool(kept) or any(call.name in reader.own for call in reader.calls(group))


def _without_calls(group: Group, reader: Reader) -> Group:
    kept: list = []
    for place, token in enumerate(group):
        if isinstance(token, tuple):
            name = _name_before(group, place)
            if name and reader._asks(name, token):
                for _ in range(2 * name.count(".") + 1):
                    kept.pop()
                continue
            kept.append(_without_calls(token, reader))
        else:
            kept.append(token)
    return tuple(kept)


def parsed(expression: str) -> Group:
    """Return an expression as tokens, and tuples of them where parentheses stand."""
    return _bare(_parsed(expression))


def words_of(group: Group) -> list[str]:
    """Return all tokens, in lower case and without the quotes around names, parentheses as tokens of their own."""
    return [token if token.startswith("'") else token.lower().strip('"') for token in _flat(group)]


def subselects(group: Group) -> Iterator[Group]:
    """Yield the sub-selects that read tables, the outer ones first."""
    for token in group:
        if isinstance(token, tuple):
            if token and str(token[0]).lower() == "select" and _has_from(token):
                yield token
            yield from subselects(token)


def conditions(expression: str | None) -> list[Group]:
    """Return what has to hold together: the parts of an expression's AND."""
    if expression is None:
        return []
    waiting, found = [parsed(expression)], []
    while waiting:
        group = _bare(waiting.pop())
        parts = _split(group, "and")
        if len(parts) > 1 and len(_split(group, "or")) == 1:
            waiting += parts
        else:
            found.append(group)
    return found


def always(expression: str | None, holds: Callable[[Group], bool]) -> bool:
    """Tell whether a condition is asked in every branch of an expression: of each AND one part, of each OR all."""
    return expression is not None and _always(_parsed(expression), holds)


def _always(group: Group, holds: Callable[[Group], bool]) -> bool:
    group = _bare(group)
    branches = _split(group, "or")
    if len(branches) > 1:
        return all(_always(branch, holds) for branch in branches)
    parts = _split(group, "and")
    if len(parts) > 1:
        return any(_always(part, holds) for part in parts)
    return [str(token).lower() for token in group] == ["false"] or holds(group)
