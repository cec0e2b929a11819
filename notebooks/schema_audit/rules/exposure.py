"""General rules: ways around the policies: views, partitions, publications, and other people's tables."""

from collections.abc import Iterator

from ..catalog import Relation
from ..report import Flaw
from ..subject import Subject, general


def _readable(db: Subject, relation: Relation, *commands: str) -> list[str]:
    """Return the clients that hold a privilege on something in a schema that they reach."""
    if relation.oid not in db.reached_oids:
        return []
    return [
        role for role in db.catalog.clients if any(db.catalog.may(role, command, relation) for command in commands or ("select",))
    ]


@general(
    "high",
    "Views that read past row-level security",
    "A view reads with the rights of its owner, whom no policy binds, unless it is told to ask as whoever calls.",
)
def view_bypasses_rls(db: Subject) -> Iterator[Flaw]:
    """Views that clients may use and that are not security_invoker."""
    for view in db.catalog.all_relations:
        if view.kind != "v" or view.asks_invoker or not _readable(db, view, "select", "insert", "update", "delete"):
            continue
        behind = [db.catalog.by_oid[oid] for oid in db.catalog.behind(view) if oid in db.catalog.by_oid]
        guarded = sorted(table.full_name for table in behind if table.has_rls)
        past = f"it reads {', '.join(guarded)} past their policies" if guarded else "it reads with its owner's rights"
        yield Flaw(view.full_name, past, f"alter view {view.full_name} set (security_invoker = true);")


@general(
    "high", "Accounts that clients read through a view", "auth.users holds addresses, phone numbers and hashes of passwords."
)
def auth_users_exposed(db: Subject) -> Iterator[Flaw]:
    """Views over auth.users that clients may read."""
    for view in db.catalog.all_relations:
        columns = _accounts_behind(db, view)
        if columns is not None and _readable(db, view):
            yield Flaw(
                view.full_name,
                f"it shows auth.users to {' and '.join(_readable(db, view))}: {', '.join(sorted(columns)) or 'how many'}",
                f"revoke select on {view.full_name} from {db.everybody};",
            )


def _accounts_behind(db: Subject, view: Relation) -> set[str] | None:
    """Return which columns of auth.users a view shows, also through other views; None where it reads no account."""
    if view.kind not in "vm" or view.asks_invoker or not db.catalog.accounts:
        return None
    found: set[str] | None = None
    for oid, columns in db.catalog.behind(view).items():
        inner = db.catalog.by_oid.get(oid)
        more = columns if oid == db.catalog.accounts else _accounts_behind(db, inner) if inner is not None else None
        if more is not None:
            found = (found or set()) | (more - {""})
    return found


@general(
    "medium",
    "Materialized views that clients read",
    "No policy can guard a materialized view: whoever may read it reads all of it.",
)
def materialized_view_exposed(db: Subject) -> Iterator[Flaw]:
    """Materialized views that clients may read."""
    yield from _whole(db, "m")


@general(
    "medium", "Foreign tables that clients read", "No policy can guard a foreign table: whoever may read it reads all of it."
)
def foreign_table_exposed(db: Subject) -> Iterator[Flaw]:
    """Foreign tables that clients may read."""
    yield from _whole(db, "f")


def _whole(db: Subject, kind: str) -> Iterator[Flaw]:
    for relation in db.catalog.all_relations:
        if relation.kind == kind and (roles := _readable(db, relation)):
            yield Flaw(
                relation.full_name,
                f"{' and '.join(roles)} may read all of it",
                f"revoke select on {relation.full_name} from {db.everybody};",
            )


@general(
    "high",
    "Partitions that are read past their table's policies",
    "A table's policies do not hold for a partition or a child that is named itself.",
)
def partition_exposed(db: Subject) -> Iterator[Flaw]:
    """Partitions and inheriting tables without row-level security that clients hold privileges on, below a table that has it."""
    for table in db.exposed_tables:
        parent = db.catalog.by_oid.get(table.parent)
        if parent is not None and parent.has_rls and not table.has_rls and (commands := db.reach_of(table)):
            yield Flaw(
                table.full_name,
                f"clients may {' and '.join(commands)} past the policies of {parent.full_name}",
                f"alter table {table.full_name} enable row level security;",
            )


@general(
    "medium",
    "Changes that are sent to everybody",
    "Realtime asks the policies of a table before it sends a change; where there are none, every subscriber gets it.",
)
def publication_without_rls(db: Subject) -> Iterator[Flaw]:
    """Tables that a publication carries, without row-level security, where clients may read them."""
    for publication, oid in db.catalog.published:
        table = db.catalog.by_oid.get(oid)
        if table is None or table.has_rls or table.schema not in db.catalog.exposed:
            continue
        readable = _readable(db, table)
        # Supabase's own publication is there to be sent to clients; another one may be for a replica.
        if readable or publication == "supabase_realtime":
            then = "" if readable else ": the first grant sends every change to everybody"
            yield Flaw(
                table.full_name,
                f"publication {publication} sends its changes, and row-level security is off{then}",
                f"alter table {table.full_name} enable row level security;",
            )
