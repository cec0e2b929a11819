"""Checks of the review's chapter Performance: notebook 03_performance."""

from ..actors import ADMIN, ANNA, SERVICE
from ..database import Database
from ..measure import heap_only
from ..plans import plan
from .trying import accepts, assistant, check, has_column, has_index, message


@check(18)
def messages_user_id(database: Database) -> str | None:
    """Read one's own messages: without a look into sessions, with one call of auth.uid(), through an index."""
    if "sessions" in plan(database, "select count(*) from public.messages", ANNA)["on"].tolist():
        return "the policy on messages reads sessions"
    policies = database.run("select coalesce(qual, with_check) as rule from pg_policies where tablename = 'messages'", ADMIN)[
        "rule"
    ]
    if not all("( SELECT auth.uid()" in rule for rule in policies):
        return "the policy on messages calls auth.uid() for each row"
    if not has_index(database, "messages", "user_id"):
        return "no index finds a learner's messages"
    columns, values = "session_id, user_id, role, chat_type, content", ":ben_open, :anna, 'user', 'main', 'x'"
    forged = f"insert into public.messages ({columns}) values ({values})"
    return "a learner writes into another's session" if accepts(database, forged, ANNA) else None


@check(19)
def session_logs_index(database: Database) -> str | None:
    """Look for an index that finds the logs of one session, newest first."""
    return None if has_index(database, "logs", "session_id", "created_at") else "no index finds the logs of one session"


@check(20)
def scenario_history_index(database: Database) -> str | None:
    """Look for an index that finds a learner's completions of one scenario, in order."""
    found = has_index(database, "sessions", "user_id", "scenario_id", "completed_at")
    return None if found else "no index finds a learner's history of one scenario"


@check(21)
def message_pages(database: Database) -> str | None:
    """Look for an index in the order of the pages, down to the id, and send question and answer in one request."""
    at = "timestamp" if has_column(database, "messages", "timestamp") else "sent_at"
    if not has_index(database, "messages", "session_id", at, "id"):
        return "no index has the order of the pages"
    database.run(f"{message()}, (:ben_open, '{assistant(database)}', 'main', 'Gern.')", SERVICE)
    tied = database.value(f"select count(*) - count(distinct {at}) from public.messages where {at} > now() - interval '1 minute'")
    return f"{tied} messages of one request share their moment" if tied else None


@check(22)
def message_counts(database: Database) -> str | None:
    """Send forty messages into one session: nine of ten counter updates must leave the indexes alone."""
    insert = message(assistant(database))
    before = heap_only(database, "public.sessions")
    for _ in range(40):
        database.run(insert, SERVICE)
    updates, untouched = (now - was for now, was in zip(heap_only(database, "public.sessions"), before, strict=True))
    return f"{updates - untouched} of {updates} counter updates write to the indexes" if untouched < 0.9 * updates else None


@check(23)
def logs_metadata_index(database: Database) -> str | None:
    """Look for an index over the contents of the logs' metadata."""
    return None if has_index(database, "logs", "metadata", method="gin") else "no index looks into metadata"
