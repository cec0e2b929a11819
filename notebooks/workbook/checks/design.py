"""Checks of the review's chapter Design: notebook 06_design."""

from ..actors import ADMIN, ANNA, SERVICE
from ..database import Database
from .trying import accepts, check, has_column, message


@check(34)
def scenario_codes(database: Database) -> str | None:
    """Add a scenario without choosing an id, and one with a code that is taken."""
    code = ("code, ", "'{}', ") if has_column(database, "scenarios", "code") else ("", "")
    add = (
        f"insert into public.scenarios ({code[0]}title, emoji, initial_message_main, initial_message_helper)"
        f" values ({code[1]}'{{}}', '🥐', 'Guten Tag!', 'Ask me.')"
    )
    if not accepts(database, add.format("bakery", "At the Bakery") if code[0] else add.format("At the Bakery")):
        return "a new scenario needs an id that somebody picks"
    if not code[0]:
        return "a scenario has no name that is the same everywhere"
    return "two scenarios share a code" if accepts(database, add.format("kebab", "Another Kebab")) else None


@check(35)
def soft_delete(database: Database) -> str | None:
    """Delete Anna's account: her history must stay, her token must write nothing, and erasure must blank what she wrote."""
    count = "select count(*) from public.messages where session_id in (:anna_open, :anna_done)"
    before = database.value(count, ADMIN)
    database.run("delete from auth.users where id = :anna", ADMIN)
    lost = before - database.value(count, ADMIN)
    if lost:
        return f"deleting an account deletes {lost} messages"
    if accepts(database, message(), ANNA):
        return "the token of a deleted account still writes"
    database.run("select public.erase_user(:anna)", SERVICE)
    left = database.value("select count(*) from public.messages where user_id = :anna and content <> ''", ADMIN)
    return f"{left} messages of an erased learner can be read" if left else None


@check(36)
def message_roles(database: Database) -> str | None:
    """Let the assistant speak in both chats, under that name."""
    missing = [chat for chat in ("main", "helper") if not accepts(database, message("assistant", chat))]
    return "no role is called assistant" if missing else None


@check(37)
def immutable_messages(database: Database) -> str | None:
    """Rewrite a message, also under the cover of a deletion; hiding it must be possible."""
    change = "update public.messages set {} where session_id = :anna_open"
    if accepts(database, change.format("content = 'Nein.'")):
        return "the service role rewrites a message"
    if accepts(database, change.format("content = 'Nein.', deleted_at = now()")):
        return "a message is rewritten while it is deleted"
    return None if accepts(database, change.format("deleted_at = now()")) else "a message cannot be hidden"


@check(38)
def scenario_order(database: Database) -> str | None:
    """Look for an order of the scenarios that says which comes first, and for the date of a change."""
    missing = [column for column in ("sort_order", "updated_at") if not has_column(database, "scenarios", column)]
    if missing:
        return f"scenarios has no {' and no '.join(missing)}"
    if database.value("select count(distinct sort_order) < count(*) from public.scenarios"):
        return "all scenarios share one place in the order"
    database.run("update public.scenarios set updated_at = '2020-01-01', title = 'Markt' where id = 1", SERVICE)
    dated = database.value("select updated_at > now() - interval '1 minute' from public.scenarios where id = 1")
    return None if dated else "a change is not dated"


@check(39)
def timestamp_names(database: Database) -> str | None:
    """Look for columns whose names do not say that they hold a moment, or that do not say of what."""
    found = database.run(
        """
        select relname || '.' || attname as name
        from pg_attribute
        join pg_class on pg_class.oid = attrelid
        where relnamespace = 'public'::regnamespace
            and relkind in ('r', 'p')
            and attnum > 0
            and atttypid in ('timestamptz'::regtype, 'timestamp'::regtype)
            and attname <> 'week_reset_date'
            and (attname !~ '_at$' or col_description(attrelid, attnum) is null)
        order by 1""",
        ADMIN,
    )["name"].tolist()
    return f"{len(found)} moments are misnamed or not explained, such as {found[0]}" if found else None


@check(40)
def on_update(database: Database) -> str | None:
    """Look for foreign keys that leave open what a changed key does, or that carry it on into messages."""
    keys = database.run(
        "select conrelid::regclass::text as on_table, confupdtype::text as on_update from pg_constraint"
        " where contype = 'f' and conparentid = 0 and connamespace = 'public'::regnamespace",
        ADMIN,
    )
    undecided = int((keys["on_update"] == "a").sum())
    if undecided:
        return f"{undecided} foreign keys do not say what a changed key does"
    into_messages = keys[keys["on_table"].isin(["messages", "message_chunks", "messages_archive"])]
    return None if (into_messages["on_update"] == "r").all() else "a changed key would change messages"
