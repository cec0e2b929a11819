"""What a database's catalog says of its schema, read in a few queries: no row of any table is looked at."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg

from ..paths import SQL

CLIENTS = ("anon", "authenticated")
"""The roles that a client's request has."""


class NotSeen(Exception):
    """A question that this login, or this database, gives no answer to; the message says why."""


@dataclass(frozen=True)
class Column:
    """A column of a table or view."""

    name: str
    type: str
    nullable: bool
    default: str | None
    generated: bool
    """An identity, a serial or a computed column: nobody has to give a value."""
    comment: str | None


@dataclass(frozen=True)
class Relation:
    """A table, view or partitioned table that is no partition itself."""

    oid: int
    schema: str
    name: str
    kind: str
    """r for a table, p for a partitioned one, v for a view, m for a materialized one."""
    comment: str | None
    has_rls: bool
    """Whether row-level security is on."""
    columns: dict[str, Column]

    @property
    def full_name(self) -> str:
        """The name with its schema."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Constraint:
    """A constraint of a table; `on_update` and `on_delete` are PostgreSQL's letters: a, r, c, n or d."""

    table: int
    name: str
    type: str
    definition: str
    columns: tuple[str, ...]
    target: int
    on_update: str
    on_delete: str


@dataclass(frozen=True)
class Index:
    """A valid index; an expression's place holds an empty name."""

    table: int
    name: str
    method: str
    columns: tuple[str, ...]
    definition: str
    unique: bool
    predicate: str | None

    def covers(self, columns: tuple[str, ...]) -> bool:
        """Tell whether it holds all rows, but for those where one of the columns is null or a flag is not set."""
        if self.predicate is None:
            return True
        named = re.fullmatch(r"\(?(\w+)(?: IS NOT NULL| = true)?\)?", self.predicate)
        return named is not None and (named[1] in columns or "NULL" not in self.predicate)

    @property
    def words(self) -> set[str]:
        """All names in it, in lower case: its columns, those it includes, and those of its expressions and predicate."""
        _, _, body = self.definition.partition(" USING ")
        return set(re.findall(r"\w+", body.lower()))


@dataclass(frozen=True)
class Policy:
    """A policy of row-level security."""

    table: int
    name: str
    command: str
    roles: tuple[str, ...]
    """Names; `public` stands for everybody."""
    using: str | None
    check: str | None
    is_permissive: bool
    """Opens rows, where a restrictive one closes them."""
    comment: str | None

    def holds_for(self, role: str) -> bool:
        """Tell whether it binds a role."""
        return role in self.roles or "public" in self.roles


@dataclass(frozen=True)
class Trigger:
    """An enabled trigger that somebody wrote."""

    table: int
    table_name: str
    """With its schema, unless that is public."""
    name: str
    definition: str
    function: int

    @property
    def is_before(self) -> bool:
        """Whether it runs before the row changes."""
        return " BEFORE " in self.definition

    @property
    def side(self) -> bool | None:
        """Whether it fires for those whom policies bind only, for all others only, or (None) for everybody."""
        table = r"\(*'[^']+'::(?:text|regclass)\)*(?:::oid)?"
        condition = re.search(rf" WHEN \(+(NOT )?\(?row_security_active\({table}\)+ EXECUTE ", self.definition)
        return None if condition is None else condition[1] is None

    def fires_on(self, event: str) -> bool:
        """Tell whether an event, such as INSERT, fires it."""
        head, _, _ = self.definition.partition(" ON ")
        return re.search(rf"\b{event}\b", head) is not None


@dataclass(frozen=True)
class Function:
    """A function or procedure that no extension brought along."""

    oid: int
    schema: str
    name: str
    returns: str
    is_procedure: bool
    is_definer: bool
    settings: tuple[str, ...]
    callers: tuple[str, ...]
    """Which of anon and authenticated may call it."""
    comment: str | None
    source: str
    """What it does, in lower case, without comments and without quotes around names."""

    @property
    def setting_of_path(self) -> str | None:
        """The search_path that it sets for itself, or None."""
        for setting in self.settings:
            name, _, value = setting.partition("=")
            if name == "search_path":
                return value.strip()
        return None


class Catalog:
    """What one transaction read. What the login may not read raises `NotSeen` where it is asked for."""

    def __init__(self, connection: psycopg.Connection) -> None:
        """Read the catalog through a connection that is in a transaction already.

        Raises:
            psycopg.Error: the server stops a query, because somebody holds a lock or time is up.
        """
        self._rows: dict[str, list[tuple] | str] = {}
        for what, query in re.findall(r"^-- ([a-z ]+).*\n([^-][^;]+);", (SQL / "audit.sql").read_text(), re.MULTILINE):
            try:
                with connection.transaction():
                    self._rows[what] = connection.execute(query).fetchall()
            except psycopg.errors.InsufficientPrivilege as error:
                self._rows[what] = error.diag.message_primary or "permission denied"
        ((self.database, self.login, self.version),) = connection.execute(
            "select current_database()::text, current_user::text, current_setting('server_version')"
        ).fetchall()

    def _read(self, what: str) -> list[tuple]:
        rows = self._rows[what]
        if isinstance(rows, str):
            raise NotSeen(f"the login may not read the {what} ({rows})")
        return rows

    def unseen(self) -> list[str]:
        """Return what the login could not read, a sentence each."""
        return [f"the {what}: {rows}" for what, rows in self._rows.items() if isinstance(rows, str)]

    @cached_property
    def relations(self) -> list[Relation]:
        """Tables and views outside the platform's schemas."""
        columns: dict[int, dict[str, Column]] = {}
        for relation, *facts in self._read("columns"):
            columns.setdefault(relation, {})[facts[0]] = Column(*facts)
        return [Relation(*(*row, columns.get(row[0], {}))) for row in self._read("tables")]

    @cached_property
    def constraints(self) -> list[Constraint]:
        """Constraints of these tables, those of partitions left out."""
        return [Constraint(*_frozen(row)) for row in self._read("constraints")]

    @cached_property
    def indexes(self) -> list[Index]:
        """Valid indexes of these tables."""
        return [Index(*_frozen(row)) for row in self._read("indexes")]

    @cached_property
    def policies(self) -> list[Policy]:
        """Policies of these tables."""
        return [Policy(*_frozen(row)) for row in self._read("policies")]

    @cached_property
    def triggers(self) -> list[Trigger]:
        """Triggers, also those on the platform's tables."""
        found = [Trigger(*row) for row in self._read("triggers")]
        # One that fires for clients alone, or for everybody else, guards nothing without its twin.
        halves = {(trigger.table, trigger.function, trigger.side) for trigger in found}
        return [
            trigger for trigger in found if trigger.side is None or (trigger.table, trigger.function, not trigger.side) in halves
        ]

    @cached_property
    def functions(self) -> dict[int, Function]:
        """Functions outside the platform's schemas, by oid."""
        rows = ((*row[:-1], _plain(row[-1])) for row in self._read("functions"))
        return {row[0]: Function(*_frozen(row)) for row in rows}

    @cached_property
    def enum_labels(self) -> dict[str, list[str]]:
        """Labels by the name of their type, as a column's type shows it."""
        labels: dict[str, list[str]] = {}
        for name, label in self._read("enums"):
            labels.setdefault(name, []).append(label)
        return labels

    @cached_property
    def extensions(self) -> dict[str, str]:
        """Schema by extension."""
        return dict(self._read("extensions"))

    @cached_property
    def roles(self) -> set[str]:
        """Which of anon, authenticated and service_role exist."""
        return {role for (role,) in self._read("roles")}

    @cached_property
    def _table_privileges(self) -> set[tuple[str, int, str]]:
        return {tuple(row) for row in self._read("table privileges")}

    @cached_property
    def _column_privileges(self) -> set[tuple[str, int, str, str]]:
        return {tuple(row) for row in self._read("column privileges")}

    @cached_property
    def open_defaults(self) -> set[str]:
        """What a client is granted on objects that are made tomorrow: `tables`, `functions`, both or neither."""
        return {kind for (kind,) in self._read("default privileges")}

    @cached_property
    def history(self) -> str | None:
        """The comment of the table that records migrations, empty where it has none; None where there is no table."""
        found = self._read("migration history")
        return (found[0][0] or "") if found else None

    def holds(self, role: str, command: str, oid: int) -> bool:
        """Tell whether a role holds a privilege on a whole table, by its oid."""
        return (role, oid, command) in self._table_privileges

    def may(self, role: str, command: str, table: Relation, column: str | None = None) -> bool:
        """Tell whether a role holds a privilege on a table, or on one of its columns.

        Raises:
            NotSeen: there is no such role.
        """
        if role not in self.roles:
            raise NotSeen(f"there is no role {role}")
        if (role, table.oid, command) in self._table_privileges:
            return True
        columns = {name for who, oid, verb, name in self._column_privileges if (who, oid, verb) == (role, table.oid, command)}
        return bool(columns) if column is None else column in columns

    def grants(self, *roles: str) -> list[str]:
        """Return what roles hold on tables, a command each, in whole or on columns."""
        names = {relation.oid: relation.full_name for relation in self.relations}
        held = {(role, table, command) for role, table, command, _ in self._column_privileges} | self._table_privileges
        return sorted(f"{role} {command} {names[table]}" for role, table, command in held if role in roles and table in names)

    def checks(self, table: Relation, *columns: str) -> list[str]:
        """Return the definitions of a table's CHECK constraints that name all these columns."""
        return [
            constraint.definition
            for constraint in self.constraints
            if constraint.table == table.oid and constraint.type == "c" and set(columns) <= set(constraint.columns)
        ]

    def foreign_keys(self, table: Relation) -> list[Constraint]:
        """Return a table's foreign keys."""
        return [constraint for constraint in self.constraints if constraint.table == table.oid and constraint.type == "f"]

    def unique_indexes(self, table: Relation) -> list[Index]:
        """Return a table's unique indexes."""
        return [index for index in self.indexes if index.table == table.oid and index.unique]

    def has_index(self, table: Relation, *columns: str, method: str = "btree") -> bool:
        """Tell whether an index begins with these columns, and leaves out no rows but those without a value in one."""
        return any(
            index.table == table.oid
            and index.method == method
            and index.columns[: len(columns)] == columns
            and index.covers(columns)
            for index in self.indexes
        )

    def opens(self, table: Relation, command: str, role: str) -> bool:
        """Tell whether row-level security lets a role's command reach any row: it is off, or a policy opens some."""
        return not table.has_rls or any(
            policy.command in (command, "all") and policy.holds_for(role) for policy in self.policies_of(table)
        )

    @cached_property
    def _schema_privileges(self) -> set[tuple[str, str, str]]:
        return {tuple(row) for row in self._read("schema privileges")}

    def open_schemas(self, command: str) -> set[str]:
        """Return the schemas that a client may use, or create objects in."""
        return {schema for role, schema, held in self._schema_privileges if role in CLIENTS and held == command}

    def partitions(self, table: Relation) -> list[tuple[int, str, str]]:
        """Return a table's partitions: oid, schema and bounds."""
        return [(oid, schema, bounds) for parent, oid, schema, bounds in self._read("partitions") if parent == table.oid]

    def columns_behind(self, view: Relation, table: Relation) -> set[str]:
        """Return which columns of a table a view reads."""
        return {column for found, source, column in self._read("views") if (found, source) == (view.oid, table.oid)}

    def policies_of(self, table: Relation) -> list[Policy]:
        """Return the policies that open rows of a table."""
        return [policy for policy in self.policies if policy.table == table.oid and policy.is_permissive]

    def trigger_sources(self, table: int, event: str, *, before: bool | None = None) -> list[str]:
        """Return what the triggers on an event of a table do: each with all functions that it calls.

        Args:
            before: only triggers that run before the change, or only those after it.
        """
        return [
            self.reach(trigger.function)
            for trigger in self.triggers
            if trigger.table == table and trigger.fires_on(event) and before in (None, trigger.is_before)
        ]

    def reach(self, function: int) -> str:
        """Return the source of a function and of all functions whose names it mentions."""
        seen: list[int] = []
        waiting = [function]
        while waiting:
            oid = waiting.pop()
            if oid not in seen and oid in self.functions:
                seen.append(oid)
                source = self.functions[oid].source
                waiting += [
                    other.oid for other in self.functions.values() if re.search(rf"\b{re.escape(other.name)}\s*\(", source)
                ]
        return "\n".join(self.functions[oid].source for oid in seen)

    def plain_functions(self) -> Iterator[Function]:
        """Yield functions that are no trigger functions."""
        return (function for function in self.functions.values() if function.returns != "trigger")


def _frozen(row: tuple) -> Iterator[Any]:
    """Yield a row's values, arrays as tuples."""
    return (tuple(value) if isinstance(value, list) else value for value in row)


def _plain(source: str) -> str:
    """Return a function's text in lower case, without comments and without the quotes around names."""
    return re.sub(r"--[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL).lower().replace('"', "")
