"""Checks of the review's chapter Critical: notebook 01_critical."""

import psycopg

from ..actors import ADMIN, ANNA, SERVICE
from ..concurrency import concurrently
from ..database import Database
from .trying import check, completion, has_column, message


@check(1)
def completed_at(database: Database) -> str | None:
    """Complete a session by update, and insert one that is already completed: both need a completed_at."""
    database.run("update public.sessions set is_completed = true where id = :anna_open", ANNA)
    try:
        database.run("insert into public.sessions (user_id, scenario_id, is_completed) values (:ben, 1, true)", SERVICE)
    except psycopg.errors.CheckViolation:
        return "an inserted completion is refused, not dated"
    missing = database.value("select count(*) from public.sessions where is_completed and completed_at is null")
    return f"{missing} completed sessions without completed_at" if missing else None


@check(2)
def weekly_reset(database: Database) -> str | None:
    """Sign somebody up from New York, and let a reset run a month late: every week must end on Monday 00:00 UTC."""
    with database.transaction(ADMIN) as sign_up:
        sign_up.run("set local timezone = 'America/New_York'")
        sign_up.run("insert into auth.users (id, email) values (:cem, 'cem@example.org')")
    database.run("update public.profiles set week_reset_date = now() - interval '30 days' where id = :anna", SERVICE)
    database.run("select public.reset_weekly_limits()", SERVICE)
    wrong = database.value(
        "select count(*) from public.profiles where id in (:anna, :cem)"
        " and week_reset_date <> (date_trunc('week', now() at time zone 'UTC') + interval '7 days') at time zone 'UTC'"
    )
    return f"{wrong} of 2 weeks end at another moment than Monday 00:00 UTC" if wrong else None


@check(3)
def completed_sessions(database: Database) -> str | None:
    """Send a message while the session's completion is under way, and another when it is done."""
    with concurrently(database, app=ANNA, phone=ANNA) as (app, phone):
        app(completion(database))
        racing = phone(message())
        app.commit()
        phone.commit()
        late = phone(message())
        phone.commit()
    accepted = sum(step.refused is None for step in (racing, late))
    return f"{accepted} of 2 messages enter a completed session" if accepted else None


@check(4)
def streaming(database: Database) -> str | None:
    """Stream a reply in two fragments and finalize it twice: one whole message, and nothing left behind."""
    try:
        with database.transaction(SERVICE) as service:
            for seq, content in enumerate(["Vier Euro ", "fünfzig."], start=1):
                service.run(
                    "insert into public.message_chunks (message_id, seq, session_id, chat_type, content)"
                    " values (:reply, :seq, :anna_open, 'main', :content)",
                    seq=seq,
                    content=content,
                )
        for _ in range(2):
            database.run("select public.finalize_message(:reply)", SERVICE)
    except psycopg.errors.UndefinedTable:
        return "a reply has no place to stream to"
    content = database.run("select content from public.messages where id = :reply")["content"].tolist()
    return None if content == ["Vier Euro fünfzig."] else f"the finished reply reads {content}"


@check(5)
def sessions_created_at(database: Database) -> str | None:
    """Look for a second column that says when a session began."""
    return "sessions has created_at beside started_at" if has_column(database, "sessions", "created_at") else None


@check(6)
def extensions(database: Database) -> str | None:
    """Look for the declared extensions, in their own schema."""
    declared = database.run(
        "select extname from pg_catalog.pg_extension where extnamespace = 'extensions'::regnamespace order by 1"
    )["extname"].tolist()
    missing = [name for name in ("citext", "pgcrypto") if name not in declared]
    return f"not declared: {', '.join(missing)}" if missing else None


@check(7)
def messages_sent_at(database: Database) -> str | None:
    """Look for the two columns that a message's one moment stood in."""
    found = [column for column in ("timestamp", "created_at") if has_column(database, "messages", column)]
    return f"messages has {' and '.join(found)}" if found else None
