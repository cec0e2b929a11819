"""Whether a policy asks who is calling: whether its answer differs from one good account to the next."""

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from .catalog import Catalog, Policy, Relation, word_set
from .expressions import (
    Group,
    Reader,
    bare,
    is_open,
    name_before,
    names_a_column,
    parsed,
    split,
    subselects,
    without_subselects,
    words_of,
)
from .shape import plain

_EVERYBODYS_CLAIMS = word_set(
    "role aud iss exp iat nbf aal amr session_id is_anonymous provider providers phone_confirmed_at email_confirmed_at"
    " email_verified"
)
"""What every account's claims say, or whoever has just signed up in the right way."""
_COMPARES = {"=", "in", "any", "@>", "<@", "?", "?|", "?&", "&&", "~~", "~~*", "~", "~*", "like", "ilike"}
_MEASURES = word_set(
    "length char_length character_length octet_length bit_length pg_typeof pg_column_size num_nonnulls num_nulls"
)
_ALIVE = re.compile(r"delet|ban|activ|status|archiv|confirm|verif|creat|updat|onboard|block|suspend|disabl|enabl|^id$")
"""Columns that tell a good account from a closed one, and nobody from anybody else."""


class Database(Protocol):
    """What is asked of a database under audit."""

    catalog: Catalog

    @property
    def owners(self) -> dict[int, str]:
        """The column of each table that says whose a row is."""

    def binding(self, table: Relation, role: str, command: str) -> list[Policy]:
        """Return the policies that open rows of a table to a role's command."""


class Callers:
    """Judges the conditions of one database's policies."""

    def __init__(self, db: Database, reader: Reader, asking: frozenset[str]) -> None:
        """Take the functions, with their schemas, whose answer depends on who is calling."""
        self._db, self._reader, self._asking = db, reader, asking
        self._by_name = {table.name.lower(): table for table in reversed(db.catalog.all_relations)}

    def is_open(
        self, expression: str | None, table: Relation, holds_back: Callable[[Group, Relation], bool] | None = None
    ) -> bool:
        """Tell whether a policy's expression lets somebody pass without being asked who they are.

        Args:
            holds_back: which conditions on the row alone are meant to let everybody pass who meets them.
        """

        def lets_pass(condition: Group) -> bool:
            return not self.asks(condition, table) and not (holds_back is not None and holds_back(condition, table))

        return is_open(expression, lets_pass)

    def asks(self, condition: Group, table: Relation) -> bool:
        """Tell whether one condition on rows of a table holds the caller against the row, or against what makes them special."""
        condition = bare(condition)
        words = words_of(condition)
        is_negated = words[:1] == ["not"]
        if is_negated and len(condition) == 2 and "<>" not in words:
            return False
        if (
            words[-2:] == ["is", "null"]
            or words[-3:] in (["is", "not", "null"], ["is", "not", "true"])
            or words[-2:] == ["is", "false"]
        ):
            return False
        selects = list(subselects((condition,)))
        if selects:
            return (
                not is_negated and "all" not in words and any(self._asks_in(select, condition, table) for select in selects[:1])
            )
        return self._compares(condition, words, table, is_negated)

    def _compares(self, condition: Group, words: list[str], table: Relation, is_negated: bool) -> bool:
        calls = list(self._reader.calls(condition))
        own = [call.name for call in calls if call.name in self._reader.own]
        if own and not any(name in self._asking and self._is_about(name, condition, table) for name in own):
            return False
        if not calls or ("<>" in words) != is_negated or self._is_measured(condition):
            return False
        if self._is_mixed(condition) or self._is_everybodys(words):
            return False
        if {*words} & _COMPARES:
            left = [word for word in words_of(self._reader.without_calls(condition)) if re.match(r"[\w']", word)]
            return bool(set(left) - _AROUND) or bool(own)
        # A function of one's own, told of the caller or asking itself, or a claim, that says yes or no.
        return bool(own) or self._is_told(condition, table) or any(word.startswith("'") for word in words)

    def _is_about(self, name: str, condition: Group, table: Relation) -> bool:
        """Tell whether a function of one's own is told of the row, or asks for more than a row of the caller's somewhere."""
        if names_a_column(self._reader.without_calls(condition)) or any(
            names_a_column(call.arguments) for call in self._reader.calls(condition) if call.name == name
        ):
            return True
        bodies = [one.source for one in self._db.catalog.plain_functions() if one.qualified == name]
        if not all(body.strip().startswith("select") for body in bodies):
            return True
        selects = [select for body in bodies for select in subselects(((*parsed(body.strip().rstrip(";")),),))]
        return not selects or any(self._asks_in(select, (select,), table) for select in selects)

    def _is_told(self, condition: Group, table: Relation) -> bool:
        """Tell whether a function of the database's own decides about the caller whom it is given."""
        for place, token in enumerate(condition):
            name = (
                name_before(condition, place) if isinstance(token, tuple) and any(True for _ in self._reader.calls(token)) else ""
            )
            for function in self._db.catalog.plain_functions():
                if name and function.qualified == name and function.returns == "boolean":
                    body = function.source.strip().rstrip(";")
                    selects = list(subselects(((*parsed(body),),))) if body.startswith("select") else []
                    return not selects or any(self._is_of_few(select, table) for select in selects)
        return False

    def _is_of_few(self, select: Group, table: Relation) -> bool:
        """Tell whether a sub-select that is given the caller finds some accounts and not others."""
        read = [found for found in map(self._table, _sources(words_of(select))) if found is not None]
        return self._has_further(select) or bool(read) and not any(self._is_of_persons(found) for found in read)

    def _is_measured(self, condition: Group) -> bool:
        """Tell whether only how long the caller's id is counts, or that there is one."""
        for place, token in enumerate(condition):
            if isinstance(token, tuple):
                name = name_before(condition, place).rpartition(".")[2]
                if name in _MEASURES and any(True for _ in self._reader.calls(token)):
                    return True
                if self._is_measured(token):
                    return True
        return False

    def _is_mixed(self, condition: Group) -> bool:
        """Tell whether a COALESCE puts the row's own value in the place of a caller who is nobody."""
        for place, token in enumerate(condition):
            if isinstance(token, tuple):
                if name_before(condition, place).lower() == "coalesce" and any(True for _ in self._reader.calls(token)):
                    parts = split(token, ",")
                    if any(names_a_column(part) and not any(True for _ in self._reader.calls(part)) for part in parts):
                        return True
                if self._is_mixed(token):
                    return True
        return False

    def _is_everybodys(self, words: list[str]) -> bool:
        """Tell whether what is asked is the same for every account."""
        if "uid" in words or ("email" in words and "auth" in words and "jwt" not in words):
            constants = [word for word in words if word.startswith("'")]
            return "~~" in words and all(not word.strip("'%_@.") for word in constants)
        if "?" in words or "?|" in words:
            return {word.strip("'") for word in words if word.startswith("'")} <= _EVERYBODYS_CLAIMS | {"sub", "email"}
        if any(words[place : place + 3] == ["auth", ".", "role"] for place in range(len(words))):
            return not _is_for_servers(words)
        claims = {
            words[place + 1].strip("'")
            for place, word in enumerate(words[:-1])
            if word in ("->", "->>") and words[place + 1][:1] == "'"
        }
        if not claims:
            return False
        if "app_metadata" in claims:
            # That is the server's, but for the ways in which somebody signed up.
            return bool(claims - {"app_metadata"}) and claims - {"app_metadata"} <= {"provider", "providers"}
        if claims == {"role"}:
            return not _is_for_servers(words)
        if "email" in claims and "~~" in words:
            return all(not word.strip("'%_@.") for word in words if word.startswith("'") and word.strip("'") not in claims)
        return claims <= _EVERYBODYS_CLAIMS

    def _asks_in(self, select: Group, condition: Group, table: Relation) -> bool:
        """Tell whether a sub-select looks for the caller beside the row, or among the few who may."""
        words = words_of(select)
        outside = without_subselects(condition)
        is_caller_outside = any(True for _ in self._reader.calls(outside))
        is_caller_inside = any(True for _ in self._reader.calls(select))
        columns = {column.lower() for column in table.columns} or self._columns_of_parent(table)
        is_tied = _is_qualified(words, table.name) or bool(columns & {*words_of(outside)})
        sources = [self._table(name) for name in _sources(words)]
        read = [found for found in sources if found is not None]
        if not is_caller_inside and not is_caller_outside:
            return is_tied and any(self._asks_itself(found) for found in read)
        if is_tied or self._has_further(select):
            return True
        if any(self._is_of_persons(found) for found in read):
            return False
        # A member of anything passes where nothing says of what.
        near = {key.target for key in self._db.catalog.foreign_keys(table)} | {table.oid}
        near -= {
            self._db.catalog.accounts,
            *(oid for oid in near if (near_table := self._db.catalog.by_oid.get(oid)) and self._is_of_persons(near_table)),
        }
        return not any(found.oid in near or {key.target for key in self._db.catalog.foreign_keys(found)} & near for found in read)

    def _columns_of_parent(self, table: Relation) -> set[str]:
        parent = self._db.catalog.by_oid.get(table.parent)
        return {column.lower() for column in parent.columns} if parent is not None else set()

    def _table(self, name: str) -> Relation | None:
        return self._by_name.get(name)

    def _is_of_persons(self, table: Relation) -> bool:
        """Tell whether a table has one row for each account."""
        key = self._db.catalog.primary_key(table)
        is_keyed = len(key) == 1 and self._db.owners.get(table.oid) == key[0]
        return is_keyed and not re.search(r"admin|staff|moderator|super|editor|operator|owner", table.name.lower())

    def _asks_itself(self, table: Relation) -> bool:
        """Tell whether a table's own policies ask who reads it, as they do inside a policy too."""
        if not table.has_rls:
            return False
        policies = [policy for role in self._db.catalog.clients for policy in self._db.binding(table, role, "select")]
        own = {id(policy): policy for policy in policies}.values()
        return not any(is_open(policy.using, lambda condition: not self._is_plain(condition, table)) for policy in own)

    def _is_plain(self, condition: Group, table: Relation) -> bool:
        """Tell whether a condition asks by itself, without another sub-select."""
        return (
            not list(subselects((condition,)))
            and self.asks(condition, table)
            or any(True for select in subselects((condition,)) for _ in self._reader.calls(select))
        )

    def _has_further(self, select: Group) -> bool:
        """Tell whether a sub-select asks for more than a living account: a role, a plan, an organisation."""
        for condition in _where(select):
            words = words_of(condition)
            if any(True for _ in self._reader.calls(condition)):
                continue
            sides = split(condition, "=")
            if len(sides) == 2 and words_of(sides[0]) == words_of(sides[1]):
                continue
            names = {
                word for place, word in enumerate(words)
                if re.match(r"[a-z_]", word) and words[place + 1 : place + 2] != ["."] and word not in _SYNTAX
                and words[place - 1 : place] != ["::"]
            }  # fmt: skip
            is_join = len(sides) == 2 and not any(word.startswith("'") or word in ("true", "false") for word in words)
            if names and not is_join and not all(_ALIVE.search(plain(name)) for name in names):
                return True
        return False


_SYNTAX = word_set("select as is not null uuid text and or true false in any array boolean")
_AROUND = word_set("select as uid jwt email role is not null uuid text and or true false in any array sub")


def _is_for_servers(words: list[str]) -> bool:
    """Tell whether a role is asked for that no client has."""
    values = {word.strip("'") for word in words if word.startswith("'")} - {"role"}
    return bool(values) and not values & {"authenticated", "anon"}


def _is_qualified(words: list[str], table: str) -> bool:
    return any(words[place : place + 2] == [table.lower(), "."] for place in range(len(words))) and not _reads(words, table)


def _reads(words: list[str], table: str) -> bool:
    """Tell whether a sub-select reads a table itself, so that its name means a row of that."""
    return table.lower() in _sources(words)


def _sources(words: list[str]) -> list[str]:
    """Return the tables that a sub-select reads, as their rows are called there."""
    found = []
    for place, word in enumerate(words):
        if word in ("from", "join", ","):
            end = place + 1
            while words[end : end + 1] == ["("]:
                end += 1
            while words[end + 1 : end + 2] == ["."]:
                end += 2
            if end < len(words):
                found.append(words[end])
    return found


def _where(select: Group) -> Iterator[Group]:
    """Yield the conditions of a sub-select, and of what it joins."""
    parts = split(select, "where", "on", "group", "order", "limit")
    for part in parts[1:]:
        waiting = [bare(part)]
        while waiting:
            group = bare(waiting.pop())
            conditions = split(group, "and")
            if len(conditions) > 1:
                waiting += conditions
            else:
                yield group


_SHOWN = re.compile(r"^(is_)?(public|shared|published|visible|listed|featured|open|template|global|demo)$")
_SHOWN_SINCE = re.compile(r"^(published|shared|released)_(at|on)$")
_HIDDEN = re.compile(r"^(is_)?(private|hidden|draft|secret|unlisted)$")
_HOW_FAR = re.compile(r"^(visibility|privacy|access|audience|scope|status|state|sharing)$")
_FOR_ALL = word_set("public published shared everyone everybody all listed unlisted open released")


def is_shown(condition: Group, table: Relation) -> bool:
    """Tell whether a condition asks the row whether it is meant to be seen; then others may see it on purpose."""
    condition = bare(condition)
    words = words_of(condition)
    if list(subselects((condition,))) or "." in words or "<>" in words:
        return False
    names = {plain(column): column for column in table.columns if column.lower() in words}
    is_negated = words[:1] == ["not"] or words[-2:] in (["=", "false"], ["is", "false"]) or words[-3:] == ["is", "not", "true"]
    is_there = words[-3:] == ["is", "not", "null"]
    is_missing = words[-2:] == ["is", "null"] and not is_there
    keys = [words[place + 1].strip("'") for place, word in enumerate(words[:-1]) if word in ("->", "->>")]
    if any(re.match(r"(is_)?(public|shar|publish)", plain(key)) for key in keys) and not is_negated and not is_missing:
        return True
    for name in names:
        if is_missing:
            # Rows of nobody, such as what everybody is given to begin with.
            return name in _OWNERS
        if (_SHOWN_SINCE.search(name) and not is_negated) or (_HIDDEN.search(name) and is_negated):
            return True
        if is_there:
            continue
        if _SHOWN.search(name) and not is_negated:
            return True
        values = {word.strip("'").lower() for word in words if word.startswith("'")}
        if _HOW_FAR.search(name) and not is_negated and values and values <= _FOR_ALL:
            return True
    return False


_OWNERS = word_set(
    "user_id userid owner_id ownerid profile_id learner_id student_id account_id member_id user owner author_id created_by"
)
