"""What a database's catalog says of its schema, read in a few queries: no row of any table is looked at."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg

from .paths import SQL

CLIENTS = ("anon", "authenticated")
"""The roles that a client's request has."""

COMMANDS = ("select", "insert", "update", "delete")


class NotSeen(Exception):
    """A question that this login gets no answer to, or that the catalog cannot tell; the message says why."""


class Nowhere(Exception):
    """This database has nothing that could have the flaw; the message says what is not there."""


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text, in no order."""
    return frozenset(words(text))


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) and name not in _RESERVED else '"' + name.replace('"', '""') + '"'


_RESERVED = word_set(
    "authorization binary collation concurrently cross freeze full ilike inner is isnull join left like natural notnull outer "
    "overlaps right similar tablesample verbose "
    "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create current_date "
    "current_role current_time current_timestamp current_user default deferrable desc distinct do else end except false "
    "fetch for foreign from grant group having in initially intersect into lateral leading limit localtime localtimestamp "
    "not null offset on only or order placing primary references returning select session_user some symmetric table then to "
    "trailing true union unique user using variadic when where window with"
)


@dataclass(frozen=True)
class Column:
    """A column of a table or view."""

    name: str
    quoted: str
    """The name as SQL writes it."""
    type: str
    base: str | None
    """The type that a domain is made of; None where the type is no domain."""
    nullable: bool
    default: str | None
    generated: bool
    """An identity, a serial or a computed column: nobody has to give a value."""
    comment: str | None

    @property
    def plain_type(self) -> str:
        """The type, or what its domain is made of."""
        return self.base or self.type

    @property
    def is_text(self) -> bool:
        """Whether it holds words."""
        return re.match(r"text|character|varchar|(\w+\.)?citext", self.plain_type) is not None

    @property
    def is_moment(self) -> bool:
        """Whether it holds a moment."""
        return self.plain_type.startswith("timestamp")


@dataclass(frozen=True)
class Relation:
    """A table, view, materialized view or foreign table."""

    oid: int
    schema: str
    name: str
    kind: str
    """r for a table, p for a partitioned one, v for a view, m for a materialized one, f for a foreign table."""
    full_name: str
    """The name with its schema, as SQL writes it."""
    comment: str | None
    has_rls: bool
    """Whether row-level security is on."""
    asks_invoker: bool
    """A view that reads with the rights of whoever asks."""
    parent: int
    """What it is a partition of or inherits from; 0 for most."""
    is_partition: bool
    is_updatable: bool
    """Whether rows can be written through it."""
    columns: dict[str, Column]


@dataclass(frozen=True)
class Constraint:
    """A constraint of a table; `on_update` and `on_delete` are PostgreSQL's letters: a, r, c, n or d."""

    table: int
    name: str
    type: str
    definition: str
    columns: tuple[str, ...]
    target: int
    target_name: str
    to_primary_key: bool
    on_update: str
    on_delete: str


@dataclass(frozen=True)
class Index:
    """A valid index; an expression's place holds an empty name."""

    table: int
    name: str
    full_name: str
    method: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    """What each place holds and how it is ordered: equal for two places that an index can serve alike."""
    includes: bool
    """Whether it carries columns beside its keys."""
    definition: str
    unique: bool
    is_constraints: bool
    """Whether a constraint stands on it."""
    predicate: str | None

    def covers(self, columns: tuple[str, ...]) -> bool:
        """Tell whether it holds all rows, but for those where one of the columns is null."""
        if self.predicate is None:
            return True
        parts = re.sub(r"[()]", "", self.predicate).split(" AND ")
        named = [re.fullmatch(r'"?([^"]+?)"? IS NOT NULL', part) for part in parts]
        return all(found is not None and found[1] in columns for found in named)

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
    full_name: str
    """As SQL writes it: name on schema.table."""
    command: str
    """select, insert, update, delete or all."""
    roles: tuple[str, ...]
    """Which of anon, authenticated and service_role it binds."""
    using: str | None
    check: str | None
    is_permissive: bool
    """Opens rows, where a restrictive one closes them."""
    comment: str | None

    def holds_for(self, role: str, command: str | None = None) -> bool:
        """Tell whether it binds a role, for a command."""
        return role in self.roles and (command is None or self.command in (command, "all"))

    def rule(self, command: str) -> str | None:
        """Return what it asks of a row that a command finds, or brings for an insert; None where it asks nothing."""
        return (self.check or self.using) if command == "insert" else self.using


@dataclass(frozen=True)
class Trigger:
    """An enabled trigger that somebody wrote."""

    table: int
    name: str
    full_name: str
    """As SQL writes it: name on schema.table."""
    definition: str
    function: int

    @property
    def is_before(self) -> bool:
        """Whether it runs before the row changes."""
        return " BEFORE " in self.definition

    @property
    def condition(self) -> str:
        """What stands in its WHEN, in lower case; empty where it always fires."""
        found = re.search(r" WHEN \((.*)\) EXECUTE ", self.definition, re.DOTALL)
        return found[1].lower() if found else ""

    @property
    def side(self) -> bool | None:
        """Whether it fires for those whom policies bind only, for all others only, or (None) for everybody."""
        table = r"\(*'[^']+'::(?:text|regclass)\)*(?:::oid)?"
        condition = re.search(rf" WHEN \(+(NOT )?\(?row_security_active\({table}\)+ EXECUTE ", self.definition)
        return None if condition is None else condition[1] is None

    @property
    def watches(self) -> tuple[str, ...]:
        """The columns whose update fires it; empty where any does."""
        found = re.search(r"UPDATE OF (.*?)(?: OR | ON )", self.definition)
        return tuple(name.strip(' "') for name in found[1].split(",")) if found else ()

    def fires_on(self, event: str) -> bool:
        """Tell whether an event, such as INSERT, fires it."""
        head, _, _ = self.definition.partition(" ON ")
        return re.search(rf"\b{event}\b", re.sub(r'"[^"]*"', "", head)) is not None


@dataclass(frozen=True)
class Function:
    """A function or procedure that no extension brought along."""

    oid: int
    schema: str
    name: str
    full_name: str
    """With its schema and the types of its arguments, as SQL writes it."""
    returns: str
    arguments: int
    is_procedure: bool
    is_definer: bool
    settings: tuple[str, ...]
    may_call: tuple[str, ...]
    """Which of anon, authenticated and service_role may call it."""
    comment: str | None
    is_parsed: bool
    """Its body is kept as PostgreSQL read it: no search_path changes what its names mean."""
    source: str
    """What it does, in lower case, without comments and without quotes around names."""

    @property
    def qualified(self) -> str:
        """The name with its schema, without arguments or quotes."""
        return f"{self.schema}.{self.name}"

    @property
    def code(self) -> str:
        """What it does, without what stands in strings."""
        return re.sub(r"'[^']*'", lambda string: string[0] if "request" in string[0] else "''", self.source)

    @property
    def callers(self) -> tuple[str, ...]:
        """Which of anon and authenticated may call it."""
        return tuple(role for role in self.may_call if role in CLIENTS)

    @property
    def setting_of_path(self) -> str | None:
        """The search_path that it sets for itself, or None."""
        for setting in self.settings:
            name, _, value = setting.partition("=")
            if name == "search_path":
                return value.strip()
        return None

    @property
    def commits(self) -> bool:
        """Whether it ends transactions itself: such a procedure takes no SET."""
        return self.is_procedure and re.search(r"\b(commit|rollback)\b(\s+and\s+chain)?\s*;", self.source) is not None

    @property
    def is_trigger(self) -> bool:
        """Whether only triggers can run it."""
        return self.returns in ("trigger", "event_trigger")


@dataclass(frozen=True)
class Default:
    """What is granted on an object that a role makes tomorrow."""

    kind: str
    """tables or functions."""
    owner: str
    schema: str
    grantee: str
    """anon, authenticated or public."""


class Catalog:
    """What one transaction read. What the login may not read raises `NotSeen` where it is asked for."""

    def __init__(self, connection: psycopg.Connection) -> None:
        """Read the catalog through a connection that is in a transaction already.

        Raises:
            psycopg.Error: the server stops a query, because somebody holds a lock or time is up.
        """
        self._rows: dict[str, list[tuple] | str] = {}
        self._reached: dict[int, list[Function]] = {}
        self._reach: dict[int, str] = {}
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

    # --- What is there ---------------------------------------------------------------------------------------

    @cached_property
    def all_relations(self) -> list[Relation]:
        """Tables, partitions and views outside the platform's schemas; partitions come without columns."""
        columns: dict[int, dict[str, Column]] = {}
        for relation, *facts in self._read("columns"):
            columns.setdefault(relation, {})[facts[0]] = Column(*facts)
        return [Relation(*(*row, columns.get(row[0], {}))) for row in self._read("tables")]

    @cached_property
    def relations(self) -> list[Relation]:
        """Tables and views that are no partitions."""
        return [relation for relation in self.all_relations if not relation.is_partition]

    @cached_property
    def tables(self) -> list[Relation]:
        """Tables, also partitioned ones, that are no partitions themselves."""
        return [relation for relation in self.relations if relation.kind in "rp"]

    @cached_property
    def by_oid(self) -> dict[int, Relation]:
        """Each table and view by its oid."""
        return {relation.oid: relation for relation in self.all_relations}

    @cached_property
    def constraints(self) -> list[Constraint]:
        """Constraints of these tables, those of partitions left out."""
        return [Constraint(*_frozen(row)) for row in self._read("constraints")]

    @cached_property
    def _constraints_of(self) -> dict[int, list[Constraint]]:
        return _grouped(self.constraints)

    @cached_property
    def indexes(self) -> list[Index]:
        """Valid indexes of these tables."""
        return [Index(*_frozen(row)) for row in self._read("indexes")]

    @cached_property
    def _indexes_of(self) -> dict[int, list[Index]]:
        return _grouped(self.indexes)

    @cached_property
    def policies(self) -> list[Policy]:
        """Policies of these tables."""
        return [Policy(*_frozen(row)) for row in self._read("policies")]

    @cached_property
    def _policies_on(self) -> dict[int, list[Policy]]:
        return _grouped(self.policies)

    @cached_property
    def triggers(self) -> list[Trigger]:
        """Triggers, also those on the platform's tables."""
        return [Trigger(*row) for row in self._read("triggers")]

    @cached_property
    def _triggers_of(self) -> dict[int, list[Trigger]]:
        return _grouped(self.triggers)

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
        return {name: schema for name, schema, _ in self._read("extensions")}

    @cached_property
    def roles(self) -> set[str]:
        """Which of anon, authenticated and service_role exist."""
        return {role for (role,) in self._read("roles")}

    @property
    def clients(self) -> list[str]:
        """Which of anon and authenticated exist."""
        return [role for role in CLIENTS if role in self.roles]

    @cached_property
    def accounts(self) -> int:
        """The oid of the platform's table of accounts; 0 where there is none."""
        return next((oid for (oid,) in self._read("accounts")), 0)

    @cached_property
    def histories(self) -> list[tuple[str, str, str | None]]:
        """Schema, name and comment of the tables that record migrations."""
        return [(schema, name, comment) for schema, name, comment in self._read("migration history")]

    @cached_property
    def unbound(self) -> list[tuple[str, int]]:
        """Clients whom no policy binds: role, and the table that they own; 0 where it is all of them."""
        return [(role, table) for role, table in self._read("unbound clients")]

    @cached_property
    def published(self) -> list[tuple[str, int]]:
        """The tables that publications carry, by publication and oid."""
        return [(name, table) for name, table in self._read("publications")]

    # --- Who may do what -------------------------------------------------------------------------------------

    @cached_property
    def _table_privileges(self) -> set[tuple[str, int, str]]:
        return {(role, table, command) for role, table, commands in self._read("table privileges") for command in commands}

    @cached_property
    def _column_privileges(self) -> dict[tuple[str, int, str], set[str]]:
        found: dict[tuple[str, int, str], set[str]] = defaultdict(set)
        for role, table, command, column in self._read("column privileges"):
            found[role, table, command].add(column)
        return found

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
        columns = self._column_privileges.get((role, table.oid, command), set())
        return bool(columns) if column is None else column in columns

    def grants(self, *roles: str) -> list[str]:
        """Return what roles hold on tables, a command each, in whole or on columns."""
        names = {relation.oid: relation.full_name for relation in self.all_relations}
        held = {*self._column_privileges, *self._table_privileges}
        return sorted(f"{role} {command} {names[table]}" for role, table, command in held if role in roles and table in names)

    @cached_property
    def defaults(self) -> list[Default]:
        """What clients are granted on objects that are made tomorrow."""
        return [Default(*row) for row in self._read("default privileges")]

    @cached_property
    def schema_privileges(self) -> set[tuple[str, str, str]]:
        """Which of anon, authenticated and service_role may use schemas, or create in them: role, schema, privilege."""
        return {tuple(row) for row in self._read("schema privileges")}

    def open_schemas(self, command: str) -> set[str]:
        """Return the schemas that a client may use, or create objects in."""
        return {schema for role, schema, held in self.schema_privileges if role in CLIENTS and held == command}

    @cached_property
    def exposed(self) -> set[str]:
        """The schemas that clients reach."""
        return self.open_schemas("usage")

    # --- Of one table ----------------------------------------------------------------------------------------

    def constraints_of(self, table: Relation, type: str) -> list[Constraint]:
        """Return a table's constraints of one type: c, f, p or u."""
        return [constraint for constraint in self._constraints_of.get(table.oid, []) if constraint.type == type]

    def primary_key(self, table: Relation) -> tuple[str, ...]:
        """Return the columns of a table's primary key; empty where it has none."""
        return next((key.columns for key in self.constraints_of(table, "p")), ())

    def checks(self, table: Relation, *columns: str) -> list[str]:
        """Return the CHECK constraints that name all these columns: the table's, and those of a column's domain."""
        found = [
            constraint.definition for constraint in self.constraints_of(table, "c") if set(columns) <= set(constraint.columns)
        ]
        if len(columns) == 1 and (column := table.columns.get(columns[0])) and column.base:
            found += [definition for domain, definition in self._read("domains") if domain == column.type]
        return found

    def foreign_keys(self, table: Relation) -> list[Constraint]:
        """Return a table's foreign keys."""
        return self.constraints_of(table, "f")

    def indexes_of(self, table: Relation | int) -> list[Index]:
        """Return a table's valid indexes."""
        return self._indexes_of.get(table if isinstance(table, int) else table.oid, [])

    def unique_indexes(self, table: Relation) -> list[Index]:
        """Return a table's unique indexes."""
        return [index for index in self.indexes_of(table) if index.unique]

    def has_index(self, table: Relation, *columns: str, method: str = "btree") -> bool:
        """Tell whether an index begins with these columns, and leaves out no rows but those without a value in one."""
        return any(
            index.method == method and index.columns[: len(columns)] == columns and index.covers(columns)
            for index in self.indexes_of(table)
        )

    def partitions(self, table: Relation) -> list[tuple[int, str, str]]:
        """Return a table's partitions: oid, schema and bounds."""
        return [(oid, schema, bounds) for parent, oid, schema, bounds in self._read("partitions") if parent == table.oid]

    def behind(self, view: Relation) -> dict[int, set[str]]:
        """Return which columns a view reads, by the oid of their table."""
        return self._sources.get(view.oid, {})

    @cached_property
    def _sources(self) -> dict[int, dict[int, set[str]]]:
        found: dict[int, dict[int, set[str]]] = {}
        for oid, source, column in self._read("views"):
            found.setdefault(oid, {}).setdefault(source, set()).add(column)
        return found

    def rewrite_rules(self, table: Relation) -> list[str]:
        """Return a table's rewrite rules, in lower case."""
        return [text for oid, text in self._read("rewrite rules") if oid == table.oid]

    def policies_of(self, table: Relation, *, permissive: bool = True) -> list[Policy]:
        """Return the policies that open rows of a table, or those that close some."""
        return [policy for policy in self._policies_on.get(table.oid, []) if policy.is_permissive == permissive]

    # --- What runs -------------------------------------------------------------------------------------------

    def triggers_of(self, table: int, event: str, *, before: bool | None = None) -> list[Trigger]:
        """Return the triggers on an event of a table.

        Args:
            before: only triggers that run before the change, or only those after it.
        """
        found = [
            trigger
            for trigger in self._triggers_of.get(table, [])
            if trigger.fires_on(event) and before in (None, trigger.is_before)
        ]
        # One that fires for clients alone, or for everybody else, guards nothing without its twin.
        halves = {(trigger.function, trigger.side) for trigger in found}
        return [trigger for trigger in found if trigger.side is None or (trigger.function, not trigger.side) in halves]

    def trigger_sources(self, table: int, event: str, *, before: bool | None = None) -> list[str]:
        """Return what the triggers on an event of a table do: each with all functions that it calls."""
        return [self.reach(trigger.function) for trigger in self.triggers_of(table, event, before=before)]

    @cached_property
    def callees(self) -> dict[int, list[int]]:
        """What each function mentions as a call, by oid."""
        named: dict[str, list[int]] = defaultdict(list)
        for function in self.functions.values():
            named[function.name.lower()].append(function.oid)
        return {
            oid: [other for name in set(re.findall(r"([\w$]+)\s*\(", function.source)) for other in named.get(name, ())]
            for oid, function in self.functions.items()
        }

    def reached(self, function: int) -> list[Function]:
        """Return a function and all those whose names it mentions, and theirs."""
        if function not in self._reached:
            seen: dict[int, None] = {}
            waiting = [function]
            while waiting:
                oid = waiting.pop()
                if oid not in seen and oid in self.functions:
                    seen[oid] = None
                    waiting += self.callees[oid]
            self._reached[function] = [self.functions[oid] for oid in seen]
        return self._reached[function]

    def reach(self, function: int) -> str:
        """Return the source of a function and of all functions whose names it mentions."""
        if function not in self._reach:
            self._reach[function] = "\n".join(reached.source for reached in self.reached(function))
        return self._reach[function]

    def plain_functions(self) -> Iterator[Function]:
        """Yield functions that are no trigger functions."""
        return (function for function in self.functions.values() if not function.is_trigger)


def _grouped(of_tables: Iterable[Any]) -> dict[int, list[Any]]:
    """Return what belongs to each table, by its oid."""
    found: dict[int, list[Any]] = defaultdict(list)
    for one in of_tables:
        found[one.table].append(one)
    return found


def _frozen(row: tuple) -> Iterator[Any]:
    """Yield a row's values, arrays as tuples."""
    return (tuple(value) if isinstance(value, list) else value for value in row)


def _plain(source: str) -> str:
    """Return a function's text in lower case, without comments and without the quotes around names."""
    kept = re.sub(r"('(?:[^']|'')*')|--[^\n]*|/\*.*?\*/", lambda found: found[1] or " ", source, flags=re.DOTALL)
    return kept.lower().replace('"', "")
