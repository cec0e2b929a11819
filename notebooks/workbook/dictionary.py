"""The data dictionary: what everything in a schema means, read from the catalog and its comments."""

import re

from schema_audit.catalog import Catalog, Relation
from sqlalchemy import inspect
from sqlalchemy.engine.reflection import ObjectKind

from .catalogue import all_issues
from .database import Database
from .tables import Table

ROLES = {"anon": "visitor", "authenticated": "learner", "service_role": "backend"}
"""What the dictionary calls the API's roles."""


def _read(database: Database) -> Catalog:
    with database.connect() as connection, connection.transaction():
        return Catalog(connection)


_ISSUES = re.compile(r"\s*\((?:issues? )?(B?\d+(?:(?:, | and |–)B?\d+)*)\)")
"""The issues that a comment names: (18), (issues 9 and 10), (issue 35, B4)."""


def _split(comment: str | None) -> tuple[str, str]:
    """Return a comment without the issues that it names in brackets, and their numbers."""
    text = comment or ""
    named = [word for group in _ISSUES.findall(text) for word in re.findall(r"B?\d+", group)]
    numbers = sorted({int(word[1:]) + len(all_issues()) if word.startswith("B") else int(word) for word in named})
    return _ISSUES.sub("", text), " ".join(map(str, numbers))


def tables(database: Database) -> Table:
    """Return the tables and views of public: name, meaning, issues that shaped it."""
    comments = inspect(database.engine).get_multi_table_comment("public", kind=ObjectKind.ANY)
    found = [(name, *_split(comment["text"])) for (_, name), comment in sorted(comments.items())]
    return Table.of(found, ["table", "meaning", "issues"])


def columns(database: Database, table: str) -> Table:
    """Return the columns of a table of public: name, type, meaning, who reads it, who writes it, issues that shaped it."""
    catalog = _read(database)
    (relation,) = (found for found in catalog.relations if (found.schema, found.name) == ("public", table))
    rows = []
    for column in relation.columns.values():
        meaning, issues = _split(column.comment)
        readers = ", ".join(name for role, name in ROLES.items() if catalog.may(role, "select", relation, column.name))
        rows.append((column.name, column.type, meaning, readers, _writers(catalog, relation, column.name), issues))
    return Table.of(rows, ["column", "type", "meaning", "read by", "written by", "issues"])


def _writers(catalog: Catalog, relation: Relation, column: str) -> str:
    found = []
    for role, name in ROLES.items():
        verbs = [verb for verb in ("insert", "update") if catalog.may(role, verb, relation, column)]
        if verbs:
            found.append(name if len(verbs) == 2 else f"{name} ({verbs[0]})")
    return ", ".join(found)


def policies(database: Database) -> Table:
    """Return the policies: name, table, command, meaning, issues that shaped it."""
    catalog = _read(database)
    names = {relation.oid: relation.name for relation in catalog.relations}
    rows = [
        (policy.name, names[policy.table], policy.command, *_split(policy.comment))
        for policy in sorted(catalog.policies, key=lambda policy: policy.name)
    ]
    return Table.of(rows, ["policy", "table", "command", "meaning", "issues"])


def functions(database: Database, schema: str) -> Table:
    """Return the functions of a schema, those that triggers call left out: name, meaning, issues that shaped it."""
    rows = [
        (f"{function.name}()", *_split(function.comment))
        for function in _read(database).plain_functions()
        if function.schema == schema
    ]
    return Table.of(rows, ["function", "meaning", "issues"])


def triggers(database: Database) -> Table:
    """Return the triggers in the order of their tables: name, table, what it does, issues that shaped it."""
    catalog = _read(database)
    rows = []
    for trigger in catalog.triggers:
        function = catalog.functions[trigger.function]
        rows.append((trigger.name, trigger.full_name.rpartition(" on ")[2].removeprefix("public."), *_split(function.comment)))
    return Table.of(sorted(rows, key=lambda row: (row[1], row[0])), ["trigger", "table", "what it does", "issues"])


def changes(before: Database, after: Database) -> Table:
    """Compare two schemas: how many objects of each kind there were and are, and how many were added, changed, removed."""
    old, new = _objects(_read(before)), _objects(_read(after))
    rows = []
    for kind in new:
        were, are = old[kind], new[kind]
        changed = sum(were[name] != are[name] for name in were.keys() & are.keys())
        rows.append((kind, len(were), len(are), len(are.keys() - were.keys()), changed, len(were.keys() - are.keys())))
    return Table.of(rows, ["kind", "before", "after", "added", "changed", "removed"])


def _objects(catalog: Catalog) -> dict[str, dict[str, object]]:
    """Return every object of a schema with its definition, by name, by kind."""
    names = {relation.oid: relation.full_name for relation in catalog.relations}
    tables = [relation for relation in catalog.relations if relation.kind in "rp"]
    return {
        "tables": {table.full_name: table.kind for table in tables},
        "views": {relation.full_name: sorted(relation.columns) for relation in catalog.relations if relation.kind == "v"},
        "columns": {
            f"{table.full_name}.{column.name}": (column.type, column.nullable, column.default)
            for table in tables
            for column in table.columns.values()
        },
        "constraints": {f"{names[found.table]}.{found.name}": found.definition for found in catalog.constraints},
        "indexes": {f"{names[index.table]}.{index.name}": index.definition for index in catalog.indexes},
        "policies": {
            f"{names[policy.table]}.{policy.name}": (policy.command, policy.roles, policy.using, policy.check)
            for policy in catalog.policies
        },
        "triggers": {trigger.name: trigger.definition for trigger in catalog.triggers},
        "functions": {f"{function.schema}.{function.name}": function.source for function in catalog.functions.values()},
        "grants to clients": dict.fromkeys(catalog.grants("anon", "authenticated")),
    }
