"""sql/privileges.sql, generated from v2's catalog: what a dump does not bring back, as statements that run at any time."""

import re
from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any

import psycopg
from jinja2 import StrictUndefined, Template

from .database import Database
from .errors import WorkbookError
from .paths import SQL

PATH = SQL / "privileges.sql"
TEMPLATE = SQL / "privileges.j2"

ROLES = ("public", "anon", "authenticated", "service_role")
"""Whose privileges the file sets; those of other roles are their own business."""

COMMANDS = ("select", "insert", "update", "delete", "usage", "execute")
"""In the order in which they are written."""


def generate(database: Database) -> str:
    """Write the file for a database that is in state v2.

    Raises:
        WorkbookError: v2 holds something that the file cannot express.
    """
    with database.connect() as connection, connection.transaction():
        # Every name comes with its schema.
        connection.execute("set local search_path = ''")
        found = connection.execute(_OBJECTS).fetchall()
        ((comment,),) = connection.execute(
            "select quote_literal(obj_description('private'::regnamespace, 'pg_namespace'))"
        ).fetchall()
        values: dict[str, Any] = {
            "everybody": ", ".join(ROLES),
            "defaults": _default_privileges(connection),
            "tables": [name for kind, name, _, _ in found if kind == "table" and name.startswith("public.")],
            "columns": [_with_columns(name, columns) for _, name, columns, _ in found if columns],
            "objects": _by_kind((kind, name) for kind, name, _, _ in found),
            "grants": [grant for kind, name, _, held in found for grant in _grants(kind, name, held)],
            "comment": comment,
            "triggers": [
                (function, moment, _laid_out(definition))
                for function, moment, definition in connection.execute(_TRIGGERS).fetchall()
            ],
        }
    template = Template(
        TEMPLATE.read_text(), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return template.render(values)


# Each object with its columns, and what others than its owner hold on it: role, privilege, column. Within an object the
# order is that of its access list, which a dump keeps. The partitions of logs come and go.
_OBJECTS = """
with object as (
    select
        case relkind when 'S' then 'sequence' when 'v' then 'view' else 'table' end as kind,
        format('%I.%I', relnamespace::regnamespace, relname) as name,
        array(
            select attname::text
            from pg_catalog.pg_attribute
            where attrelid = pg_class.oid and relkind <> 'S' and attnum > 0 and not attisdropped
            order by attnum
        ) as columns,
        oid as relation,
        relacl as acl,
        relowner as owner,
        relnamespace as schema
    from pg_catalog.pg_class
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and not relispartition
    union all
    select
        case prokind when 'p' then 'procedure' else 'function' end,
        replace(oid::regprocedure::text, ',', ', '),
        '{}',
        null,
        proacl,
        proowner,
        pronamespace
    from pg_catalog.pg_proc
    where not exists (
        select
        from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e'
    )
)
select kind, name, columns, array(
    select array[case grantee when 0 then 'public' else pg_get_userbyid(grantee)::text end, lower(privilege_type), attname]
    from (
        select grantee, privilege_type, null as attname, 0 as attnum, place
        from aclexplode(acl) with ordinality as whole (grantor, grantee, privilege_type, is_grantable, place)
        where grantee <> owner
        union all
        select grantee, privilege_type, attname, attnum, 0
        from pg_catalog.pg_attribute
        cross join aclexplode(attacl)
        where attrelid = relation and not attisdropped
    ) as held
    order by attnum, place
) as held
from object
where schema in ('public'::regnamespace, 'private'::regnamespace)
order by
    relation is null,
    relation is null and kind = 'procedure',
    schema <> 'public'::regnamespace,
    array_position(array['table', 'view', 'sequence'], kind),
    name collate "C"
"""

_DEFAULTS = """
select
    default_acl.defaclnamespace <> 0 as in_public,
    case default_acl.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' end as kind,
    case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end as grantee,
    lower(acl.privilege_type) as privilege
from pg_catalog.pg_default_acl as default_acl
cross join aclexplode(default_acl.defaclacl) as acl
where default_acl.defaclnamespace in (0, 'public'::regnamespace)
    and default_acl.defaclrole = (select relowner from pg_catalog.pg_class where oid = 'public.profiles'::regclass)
"""

_TRIGGERS = """
select tgfoid::regprocedure::text, tgtype, pg_get_triggerdef(pg_trigger.oid)
from pg_catalog.pg_trigger
join pg_catalog.pg_proc on pg_proc.oid = tgfoid
where tgrelid = 'auth.users'::regclass
    and not tgisinternal
    and pronamespace = 'private'::regnamespace
order by tgname
"""


def _default_privileges(connection: psycopg.Connection) -> dict[str, dict[str, str]]:
    """Return what is granted on new objects of public, by their kind and by role."""
    found = connection.execute(_DEFAULTS).fetchall()
    everywhere = {(kind, grantee) for in_public, kind, grantee, _ in found if not in_public}
    if {kind for kind, _ in everywhere} != {"functions"} or ("functions", "public") in everywhere:
        raise WorkbookError(f"v2 has other default privileges than {__name__} expects; teach it to write them.")
    granted: dict[str, dict[str, str]] = {"tables": {}, "sequences": {}, "functions": {}}
    for kind, roles in granted.items():
        for role in ROLES:
            held = [privilege for in_public, *whose, privilege in found if in_public and whose == [kind, role]]
            if held:
                roles[role] = ", ".join(sorted(held, key=COMMANDS.index))
    return granted


def _with_columns(name: str, columns: list[str]) -> str:
    row = f"('{name}', array[{', '.join(f"'{column}'" for column in columns)}])"
    return fill(row, 125, initial_indent=" " * 12, subsequent_indent=" " * 16, break_long_words=False)


def _by_kind(objects: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names by the kind of which a REVOKE speaks: to it a view is a table."""
    names: dict[str, list[str]] = {"table": [], "sequence": []}
    for kind, name in objects:
        names.setdefault("table" if kind == "view" else kind, []).append(name)
    return names


def _grants(kind: str, name: str, held: list[tuple[str, str, str | None]]) -> Iterator[str]:
    """Yield a statement for each role, what it holds on the whole object first."""
    on = name if kind in ("table", "view") else f"{kind} {name}"
    by_role: dict[str, dict[tuple[bool, int], list[str]]] = {}
    for role, privilege, column in held:
        if role not in ROLES:
            raise WorkbookError(f"v2 grants something on {on} to {role}, which is none of {', '.join(ROLES)}.")
        key = (column is not None, COMMANDS.index(privilege))
        by_role.setdefault(role, {}).setdefault(key, []).append(column or "")
    for role, privileges in by_role.items():
        said = [
            f"{COMMANDS[place]} ({', '.join(columns)})" if is_partial else COMMANDS[place]
            for (is_partial, place), columns in sorted(privileges.items())
        ]
        yield f"grant {', '.join(said)} on {on} to {role}"


def _laid_out(trigger: str) -> str:
    """Return a trigger's definition with a clause a line; keywords alone are in upper case before."""
    statement = re.sub(r"\b[A-Z]+\b", lambda word: word[0].lower(), trigger)
    for word in ("after ", "before ", "for each ", "when ", "execute "):
        statement = statement.replace(f" {word}", f"\n        {word}", 1)
    return statement
