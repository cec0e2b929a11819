"""sql/privileges.sql, generated from v2's catalog: what a dump does not bring back, as statements that run at any time."""

import re
from collections.abc import Iterable
from textwrap import fill

import psycopg

from .database import Database
from .errors import WorkbookError
from .paths import SQL

PATH = SQL / "privileges.sql"

SCHEMAS = ("public", "private", "supabase_migrations")
ROLES = ("public", "anon", "authenticated", "service_role")
"""Whose privileges the file sets; those of other roles are their own business."""

_FROM_ALL = f"from {', '.join(ROLES)}"

_HEAD = """\
-- Privileges: what v2 grants, and its triggers on auth.users; what a dump does not bring back
-- Generated from v2's catalog by `make refresh`: change a fix, not this file.
-- When: before a restore and again after it, as the owner of the schema; and at any other time, as often as you like.
-- Locks: nothing that a query waits for. Where a trigger is missing, auth.users, SHARE ROW EXCLUSIVE, for a moment; sign-ups
-- wait for it.
-- Repairs: privileges of the API roles on objects of v2. Other objects, and other roles, keep what they have.

begin;

set local lock_timeout = '5s';

-- --- Part 1, for what is yet to be made ----------------------------------------------------------------------------

-- A dump says what is granted. What the platform's defaults grant on top, to each object that the restore makes, it never
-- takes back.
"""

_PART_2 = """\

-- --- Part 2, for what is there -------------------------------------------------------------------------------------

do $$
declare
    relation record;
    keeping text[] := '{}';
    kept text;
begin
    if coalesce(
TABLES
    ) is null then
        raise notice 'the tables of v2 are not here yet: run this file again when the restore is done';
        return;
    end if;

    for relation in
        select wanted.name, wanted.columns, class.oid, pg_get_userbyid(class.relowner) as owner
        from (values
COLUMNS
        ) as wanted (name, columns)
        left join pg_catalog.pg_class as class on class.oid = to_regclass(wanted.name)
        order by wanted.name
    loop
        if relation.oid is null then
            raise exception using
                errcode = 'undefined_table',
                message = format('%s is missing, so no privilege is set', relation.name),
                hint = 'Look for the first error of the restore, and restore again.';
        elsif relation.owner <> current_user then
            -- To anybody else a REVOKE may be a mere warning.
            raise exception using
                errcode = 'insufficient_privilege',
                message = format('%s belongs to %s, so no privilege is set', relation.name, relation.owner),
                hint = format('Run this file as %s.', relation.owner);
        end if;

        -- A column that a team has added keeps its grants: they would go with those of its table.
        keeping := keeping || array(
            select format(
                'grant %s (%I) on %s to %s%s',
                acl.privilege_type,
                attribute.attname,
                relation.name,
                coalesce(quote_ident(api.rolname), 'public'),
                case when acl.is_grantable then ' with grant option' end
            )
            from pg_catalog.pg_attribute as attribute
            cross join aclexplode(attribute.attacl) as acl
            left join pg_catalog.pg_roles as api on api.oid = acl.grantee
            where attribute.attrelid = relation.oid
                and not attribute.attisdropped
                and attribute.attname <> all (relation.columns)
                and coalesce(api.rolname, 'public') in ('public', 'anon', 'authenticated', 'service_role')
        );
    end loop;

"""

_END = """\
end;
$$;

commit;
"""


def generate(database: Database) -> str:
    """Write the file for a database that is in state v2.

    Raises:
        WorkbookError: v2 holds something that the file cannot express.
    """
    with database.connect() as connection, connection.transaction():
        # Every name comes with its schema.
        connection.execute("set local search_path = ''")
        return "".join(
            [
                _HEAD,
                _default_privileges(connection),
                _PART_2.replace("TABLES", _tables(connection)).replace("COLUMNS", _columns(connection)),
                _revokes(connection),
                _grants(connection),
                _partitions(),
                _schemas(connection),
                _triggers(connection),
                _END,
            ]
        )


# --- Part 1 -------------------------------------------------------------------------------------------------------

_KINDS = {"r": "tables", "S": "sequences", "f": "functions"}

_DEFAULTS = """
select
    default_acl.defaclnamespace <> 0 as in_public,
    default_acl.defaclobjtype::text as kind,
    case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end as grantee,
    lower(acl.privilege_type) as privilege
from pg_catalog.pg_default_acl as default_acl
cross join aclexplode(default_acl.defaclacl) as acl
where default_acl.defaclnamespace in (0, 'public'::regnamespace)
    and default_acl.defaclrole = (select relowner from pg_catalog.pg_class where oid = 'public.profiles'::regclass)
"""


def _default_privileges(connection: psycopg.Connection) -> str:
    granted: dict[tuple[str, str], list[str]] = {}
    everywhere: set[tuple[str, str]] = set()
    kinds_everywhere = set()
    for in_public, kind, grantee, privilege in connection.execute(_DEFAULTS).fetchall():
        if not in_public:
            everywhere.add((kind, grantee))
            kinds_everywhere.add(kind)
        elif grantee in ROLES:
            granted.setdefault((kind, grantee), []).append(privilege)
    if kinds_everywhere != {"f"} or ("f", "public") in everywhere:
        raise WorkbookError(f"v2 has other default privileges than {__name__} expects; teach it to write them.")

    # What PostgreSQL grants by itself can only be taken back for all schemas at once.
    lines = ["alter default privileges revoke execute on functions from public;\n"]
    for kind, name in _KINDS.items():
        lines.append(f"alter default privileges in schema public revoke all on {name} {_FROM_ALL};\n")
        for role in ROLES:
            if privileges := granted.get((kind, role)):
                lines.append(f"alter default privileges in schema public grant {_list(privileges)} on {name} to {role};\n")
    return "".join(lines)


# --- Part 2 -------------------------------------------------------------------------------------------------------

# The partitions of logs come and go.
_RELATIONS = """
select relation.oid, format('%%I.%%I', namespace.nspname, relation.relname) as name, relation.relkind::text as kind
from pg_catalog.pg_class as relation
join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
where namespace.nspname = any (%s)
    and relation.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    and not relation.relispartition
order by array_position(%s, namespace.nspname::text), relation.relkind = 'S', relation.relkind = 'v', relation.relname collate "C"
"""


def _relations(connection: psycopg.Connection, *schemas: str) -> list[tuple[int, str, str]]:
    return connection.execute(_RELATIONS, [list(schemas), list(schemas)]).fetchall()


def _tables(connection: psycopg.Connection) -> str:
    names = [name for _, name, kind in _relations(connection, "public") if kind in "rp"]
    return ",\n".join(f"        to_regclass('{name}')" for name in names)


def _columns(connection: psycopg.Connection) -> str:
    rows = []
    for oid, name, kind in _relations(connection, "public", "private"):
        if kind == "S":
            continue
        columns = connection.execute(
            "select attname from pg_catalog.pg_attribute where attrelid = %s and attnum > 0 and not attisdropped order by attnum",
            [oid],
        ).fetchall()
        row = f"('{name}', array[{', '.join(f"'{column}'" for (column,) in columns)}])"
        rows.append(fill(row, 125, initial_indent=" " * 12, subsequent_indent=" " * 16, break_long_words=False))
    return ",\n".join(rows)


_FUNCTIONS = """
select
    function.oid,
    replace(function.oid::regprocedure::text, ',', ', '),
    case function.prokind when 'p' then 'procedure' else 'function' end as kind
from pg_catalog.pg_proc as function
where function.pronamespace = any (%s::regnamespace[])
    and not exists (
        select
        from pg_catalog.pg_depend
        where classid = 'pg_catalog.pg_proc'::regclass and objid = function.oid and deptype = 'e'
    )
order by kind, array_position(%s::regnamespace[], function.pronamespace), function.oid::regprocedure::text collate "C"
"""


def _functions(connection: psycopg.Connection) -> list[tuple[int, str, str]]:
    schemas = ["public", "private"]
    return connection.execute(_FUNCTIONS, [schemas, schemas]).fetchall()


def _revokes(connection: psycopg.Connection) -> str:
    relations = _relations(connection, "public", "private")
    kinds = [
        ("table", [name for _, name, kind in relations if kind != "S"]),
        ("sequence", [name for _, name, kind in relations if kind == "S"]),
    ]
    functions = _functions(connection)
    kinds += [(kind, [name for _, name, found in functions if found == kind]) for kind in ("function", "procedure")]
    statements = (
        f"    revoke all on {kind}\n{',\n'.join(f'        {name}' for name in names)}\n    {_FROM_ALL};\n"
        for kind, names in kinds
        if names
    )
    return "    -- Everything is taken back, and what each role needs is given again.\n" + "".join(statements)


_HELD = """
select case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end, lower(acl.privilege_type), ''
from pg_catalog.pg_class as relation
cross join aclexplode(relation.relacl) with ordinality as acl (grantor, grantee, privilege_type, is_grantable, place)
where relation.oid = %(relation)s and acl.grantee <> relation.relowner
union all
select pg_get_userbyid(acl.grantee)::text, lower(acl.privilege_type), ''
from pg_catalog.pg_proc as function
cross join aclexplode(function.proacl) as acl
where function.oid = %(function)s and acl.grantee <> function.proowner
"""

_HELD_ON_COLUMNS = """
select
    case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end,
    lower(acl.privilege_type),
    attribute.attname::text
from pg_catalog.pg_attribute as attribute
cross join aclexplode(attribute.attacl) as acl
where attribute.attrelid = %s and not attribute.attisdropped
order by attribute.attnum
"""


def _grants(connection: psycopg.Connection) -> str:
    """Return the grants, object by object; within one in the order of its access list, which a dump keeps."""
    lines = ["\n"]
    for oid, name, kind in _relations(connection, "public", "private"):
        held = connection.execute(_HELD, {"relation": oid, "function": 0}).fetchall()
        held += connection.execute(_HELD_ON_COLUMNS, [oid]).fetchall()
        lines += _grants_of(held, f"sequence {name}" if kind == "S" else name)
    for oid, name, kind in _functions(connection):
        held = connection.execute(_HELD, {"relation": 0, "function": oid}).fetchall()
        lines += _grants_of(held, f"{kind} {name}")
    lines += [
        "\n    foreach kept in array keeping loop\n",
        "        execute kept;\n",
        "    end loop;\n",
    ]
    return "".join(lines)


def _grants_of(held: list[tuple[str, str, str]], object: str) -> Iterable[str]:
    for role in dict.fromkeys(role for role, _, _ in held):
        if role not in ROLES:
            raise WorkbookError(f"v2 grants something on {object} to {role}, which is none of {', '.join(ROLES)}.")
        whole = [privilege for holder, privilege, column in held if holder == role and not column]
        columns: dict[str, list[str]] = {}
        for holder, privilege, column in held:
            if holder == role and column:
                columns.setdefault(privilege, []).append(column)
        for_columns = [f"{privilege} ({', '.join(columns[privilege])})" for privilege in _in_order(columns)]
        yield f"    grant {', '.join([*_in_order(whole), *for_columns])} on {object} to {role};\n"


def _partitions() -> str:
    return f"""
    -- The partitions of logs, whatever their months are: row-level security is that of logs alone.
    for relation in
        select partition.relid::regclass as name
        from pg_partition_tree('public.logs') as partition
        where partition.level > 0
    loop
        execute format('revoke all on %s {_FROM_ALL}', relation.name);
    end loop;
"""


def _schemas(connection: psycopg.Connection) -> str:
    ((comment,),) = connection.execute(
        "select quote_literal(obj_description('private'::regnamespace, 'pg_namespace'))"
    ).fetchall()
    tables = [name for _, name, _ in _relations(connection, "supabase_migrations")]
    return f"""
    -- A schema private that a team has made before is shared: its own grants stay.
    if obj_description('private'::regnamespace, 'pg_namespace') =
        {comment}
    then
        revoke all on schema private {_FROM_ALL};
    end if;

    -- A dump of public and private leaves the history of migrations out.
    if to_regclass('{tables[0]}') is not null then
        revoke all on {", ".join(tables)} {_FROM_ALL};
        revoke all on schema supabase_migrations {_FROM_ALL};
    end if;
"""


_TRIGGERS = """
select tgname, tgtype, tgfoid::regprocedure::text, pg_get_triggerdef(pg_trigger.oid)
from pg_catalog.pg_trigger
join pg_catalog.pg_proc on pg_proc.oid = tgfoid
where tgrelid = 'auth.users'::regclass
    and not tgisinternal
    and pronamespace = 'private'::regnamespace
order by tgname
"""


def _triggers(connection: psycopg.Connection) -> str:
    lines = [
        "\n    -- A dump of our schemas leaves the triggers on auth.users out: they belong to its table. Without them a sign-up\n"
        "    -- makes no profile. A trigger that calls the same function at the same moment will do, whatever its name.\n"
    ]
    for _, moment, function, definition in connection.execute(_TRIGGERS).fetchall():
        # Keywords alone are in upper case.
        statement = re.sub(r"\b[A-Z]+\b", lambda word: word[0].lower(), definition)
        for word in ("after ", "before ", "for each ", "when ", "execute "):
            statement = statement.replace(f" {word}", f"\n        {word}", 1)
        lines.append(
            f"""\
    if not exists (
        select
        from pg_catalog.pg_trigger
        where tgrelid = 'auth.users'::regclass
            and tgfoid = '{function}'::regprocedure
            and tgtype = {moment}
    ) then
        {statement};
    end if;
"""
        )
    return "".join(lines)


# --- Words --------------------------------------------------------------------------------------------------------

_COMMANDS = ("select", "insert", "update", "delete", "usage", "execute")


def _in_order(privileges: Iterable[str]) -> list[str]:
    return sorted(privileges, key=_COMMANDS.index)


def _list(privileges: Iterable[str]) -> str:
    return ", ".join(_in_order(privileges))
