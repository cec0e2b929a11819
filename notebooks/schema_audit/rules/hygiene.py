"""General rules: what a schema should say of itself, whatever it is for."""

import re
from collections.abc import Iterator

from ..catalog import quoted
from ..report import Flaw
from ..subject import Subject, general


@general(
    "low",
    "Functions that look names up as their caller does",
    "Whoever calls one decides by their search_path which tables and functions its names mean.",
)
def caller_search_path(db: Subject) -> Iterator[Flaw]:
    """The search_path of functions that are not SECURITY DEFINER; a procedure that commits cannot have one."""
    for function in db.catalog.functions.values():
        if not function.is_definer and function.setting_of_path is None and not function.commits and not function.is_parsed:
            kind = "procedure" if function.is_procedure else "function"
            # What it finds today, operators of extensions too, it has to find tomorrow.
            path = [
                quoted(function.schema),
                "public",
                *(["extensions"] if "extensions" in db.catalog.extensions.values() else []),
                "pg_temp",
            ]
            yield Flaw(
                function.full_name,
                "it sets no search_path of its own",
                f"alter {kind} {function.full_name} set search_path = {', '.join(dict.fromkeys(path))};",
            )


@general(
    "low",
    "Definer functions that accounts may call",
    "No policy binds such a function: all depends on how well its own body asks who is calling.",
)
def definer_rpc(db: Subject) -> Iterator[Flaw]:
    """SECURITY DEFINER functions that authenticated may call and anon may not, and that ask who is calling."""
    for function in db.catalog.plain_functions():
        if (
            function.is_definer
            and function.schema in db.catalog.exposed
            and function.callers == ("authenticated",)
            and db.asks_caller(function)
        ):
            yield Flaw(function.full_name, "any account may call it; it asks who is calling, so it may be meant so")


@general("medium", "Tables without a primary key", "Nothing tells two rows apart, and logical replication cannot change either.")
def no_primary_key(db: Subject) -> Iterator[Flaw]:
    """The primary key of each table."""
    for table in db.catalog.tables:
        if not db.catalog.primary_key(table):
            yield Flaw(table.full_name, "it has no primary key")


@general(
    "low", "Extensions among the tables", "What an extension brings along becomes part of the API, and of every search path."
)
def extension_in_public(db: Subject) -> Iterator[Flaw]:
    """The schemas of extensions."""
    for name, schema in db.catalog.extensions.items():
        if schema in db.catalog.exposed and schema != "extensions":
            yield Flaw(
                f"extension {name}",
                f"it stands in {schema}",
                f'alter extension "{name}" set schema extensions;' if name not in ("postgis", "pg_net", "pg_cron") else "",
            )


@general(
    "low",
    "Keys to the platform's tables that are not their primary key",
    "Only the primary key of auth.users is promised to stay; the platform may drop other unique columns.",
)
def key_to_auth_not_primary(db: Subject) -> Iterator[Flaw]:
    """Foreign keys to auth and storage, and which of their keys they use."""
    for key in db.catalog.constraints:
        if key.type == "f" and not key.to_primary_key and re.match(r"auth\.|storage\.", key.target_name):
            table = db.catalog.by_oid[key.table]
            yield Flaw(table.full_name, f"{key.name} points to {key.target_name} by a column that is not its primary key")


@general("low", "Columns that an upgrade refuses", "pg_upgrade stops at columns that hold oids of the catalog.")
def reg_types(db: Subject) -> Iterator[Flaw]:
    """Types of columns: those of the reg family other than regclass, regrole and regtype."""
    for table in db.catalog.tables:
        for column in table.columns.values():
            if column.type in _REFUSED:
                yield Flaw(f"{table.full_name}.{column.quoted}", f"its type is {column.type}")


_REFUSED = ("regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc", "regprocedure")
