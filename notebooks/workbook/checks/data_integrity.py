"""Checks of the review's chapter Data integrity: notebook 02_data_integrity."""

from ..actors import ADMIN, ANNA, SERVICE
from ..concurrency import concurrently
from ..database import Database
from .trying import accepts, check, completion, message


@check(8)
def session_times(database: Database) -> str | None:
    """Try a session that ends before it starts, and one with -3 messages."""
    accepted = [
        what
        for what, change in {
            "an end before the start": "completed_at = started_at - interval '1 minute'",
            "a count of -3": "message_count_main = -3",
        }.items()
        if accepts(database, f"update public.sessions set {change} where id = :anna_done")
    ]
    return f"accepted: {' and '.join(accepted)}" if accepted else None


def _complete_twice(database: Database) -> None:
    """Complete Anna's open session from two devices at once."""
    complete = completion(database)
    with concurrently(database, phone=ANNA, laptop=ANNA) as (phone, laptop):
        phone(complete)
        laptop(complete)
        phone.commit()
        laptop.commit()


@check(9)
def completed_scenario_count(database: Database) -> str | None:
    """Complete a session from two devices at once: the profile counts one more."""
    count = "select completed_scenario_count from public.profiles where id = :anna"
    before = database.value(count)
    _complete_twice(database)
    counted = database.value(count) - before
    return None if counted == 1 else f"one completion counts as {counted}"


@check(10)
def weekly_completion_count(database: Database) -> str | None:
    """Complete a session in a week whose reset was missed, then delete one: the new week has one completion."""
    stale = "update public.profiles set current_week_completion_count = 3, week_reset_date = now() - interval '3 days'"
    database.run(f"{stale} where id = :anna", SERVICE)
    _complete_twice(database)
    count = "select current_week_completion_count from public.profiles where id = :anna"
    counted = database.value(count)
    if counted != 1:
        return f"a week with one completion counts {counted}"
    database.run("delete from public.sessions where id = :anna_open", SERVICE)
    return None if database.value(count) == 1 else "deleting a session frees a place in the week"


@check(11)
def message_count(database: Database) -> str | None:
    """Add a third kind of chat, as a later migration might: its messages must be counted or refused."""
    if database.value("select to_regtype('public.chat_type') is null"):
        database.run("alter table public.messages drop constraint messages_chat_type_check")
    else:
        database.run("alter type public.chat_type add value 'grammar'")
    return "a message that no counter counts" if accepts(database, message(chat="grammar")) else None


@check(12)
def session_duration(database: Database) -> str | None:
    """Restore a row with triggers off, as a backup does."""
    restore = "set local session_replication_role = replica; update public.sessions set duration_seconds = -600"
    return "a session of -600 seconds" if accepts(database, restore, ADMIN) else None


@check(13)
def enums(database: Database) -> str | None:
    """Look for text columns where a closed list of values belongs."""
    found = database.run(
        """
        select table_name || '.' || column_name as name
        from information_schema.columns
        where table_schema = 'public'
            and table_name in ('messages', 'message_chunks')
            and column_name in ('role', 'chat_type')
            and data_type = 'text'
        order by 1""",
        ADMIN,
    )["name"].tolist()
    return f"text: {', '.join(found)}" if found else None


@check(14)
def role_and_chat(database: Database) -> str | None:
    """Let the character speak in the helper chat, and the helper in the main chat."""
    wrong = [pair for pair in (("scenario", "helper"), ("helper", "main")) if accepts(database, message(*pair))]
    return " and ".join(f"{role} in the {chat} chat" for role, chat in wrong) or None


@check(15)
def content_size(database: Database) -> str | None:
    """Send 8001 characters, and then 8000 of two bytes each, which must be taken."""
    insert = message().replace("'Ja, gern.'", ":text")
    if accepts(database, insert, text="ü" * 8001):
        return "a message of 8001 characters"
    return None if accepts(database, insert, text="ü" * 8000) else "8000 characters are refused"


@check(16)
def emoji_size(database: Database) -> str | None:
    """Try an emoji of 65 bytes and an empty one, and then two real ones, which must be taken."""
    change = "update public.scenarios set emoji = :emoji where id = 1"
    if any(accepts(database, change, emoji=emoji) for emoji in ("🛒" * 16 + "!", "")):
        return "an emoji of 65 bytes or none"
    real = [emoji for emoji in ("👨‍👩‍👧‍👦", "🧑🏿‍❤️‍💋‍🧑🏿") if not accepts(database, change, emoji=emoji)]
    return f"real emoji are refused: {' '.join(real)}" if real else None


@check(17)
def scenario_titles(database: Database) -> str | None:
    """Give a second scenario the title of the first."""
    change = "update public.scenarios set title = (select title from public.scenarios where id = 1) where id = 2"
    return "two scenarios with one title" if accepts(database, change) else None
