"""Checks of the review's chapter Missing features: notebook 07_missing_features."""

import time

import psycopg

from ..actors import ADMIN, ANNA, SERVICE
from ..database import Database
from .trying import accepts, check, has_column, has_index, message


@check(41)
def scenario_completions_index(database: Database) -> str | None:
    """Look for an index that counts a scenario's sessions."""
    found = has_index(database, "sessions", "scenario_id", "is_completed")
    return None if found else "no index finds a scenario's sessions"


@check(42)
def profile_email(database: Database) -> str | None:
    """Change Anna's address where she signs in, and sign somebody up with Ben's in capitals."""
    database.run("update auth.users set email = 'anna.neu@example.org' where id = :anna", ADMIN)
    stored = database.value("select email::text from public.profiles where id = :anna", ADMIN)
    if stored != "anna.neu@example.org":
        return "the profile keeps the old address"
    double = "insert into auth.users (id, email) values (:cem, 'BEN@example.org')"
    return "two living profiles share an address" if accepts(database, double, ADMIN) else None


@check(43)
def rate_limit(database: Database) -> str | None:
    """Send two messages at once, and three in one request; wait a moment, and one must be taken again."""
    bulk = f"{message()}, (:anna_open, 'user', 'main', 'Nein.'), (:anna_open, 'user', 'main', 'Doch!')"
    if accepts(database, bulk, ANNA):
        return "three messages in one request"
    database.run(message(), ANNA)
    if accepts(database, message(), ANNA):
        return "a second message in the same moment"
    time.sleep(0.55)
    return None if accepts(database, message(), ANNA) else "half a second later a message is still refused"


@check(44)
def migration_history(database: Database) -> str | None:
    """Look for the place where migrations are recorded, and for the words that say so."""
    if database.value("select to_regclass('supabase_migrations.schema_migrations') is null"):
        return "nothing records what is applied"
    said = database.value("select obj_description('supabase_migrations.schema_migrations'::regclass) is not null", ADMIN)
    return None if said else "nothing says how migrations are ordered and recorded"


@check(45)
def job_failures(database: Database) -> str | None:
    """Let the clean-up job fail: it must say so, and the log of it must stay."""
    database.run(
        """
        update public.sessions set last_activity_at = now() - interval '8 days' where id = :ben_open;
        create function public.refuse() returns trigger language plpgsql
            as $$ begin raise exception 'the disk is full'; end $$;
        create trigger refuse before delete on public.sessions for each row execute function public.refuse()"""
    )
    try:
        result = database.value("select to_jsonb(public.delete_expired_sessions())", SERVICE)
    except psycopg.Error:
        result = None
    errors = database.value("select count(*) from public.logs where level = 'error'", ADMIN)
    if not errors:
        return "a failed job leaves no trace"
    return None if isinstance(result, dict) and result["status"] == "failed" else "a failed job says that it is well"


@check(46)
def idempotent_messages(database: Database) -> str | None:
    """Send a message twice, as a client does whose first answer was lost: both must succeed, and one be stored and counted."""
    if not has_column(database, "messages", "client_message_id"):
        return "a retry writes the message twice"
    insert = message().replace("content)", "content, client_message_id)").replace("gern.'", "gern.', :reply")
    retry = f"{insert} on conflict (session_id, client_message_id) do nothing"
    if not accepts(database, retry, ANNA):
        return "ON CONFLICT finds no constraint to name"
    database.run(retry, ANNA)
    if not accepts(database, retry, ANNA):
        return "a retry is refused"
    database.run(retry, ANNA)
    stored = database.value("select count(*) from public.messages where client_message_id = :reply", ADMIN)
    if stored != 1:
        return f"the message is stored {stored} times"
    # And once more after the pause that issue 43 asks for.
    counted = "select message_count_main from public.sessions where id = :anna_open"
    before = database.value(counted, ADMIN)
    database.run("update public.sessions set last_message_at = null, updated_at = now() where id = :anna_open", ADMIN)
    database.run(retry, ANNA)
    return "a retry is counted" if database.value(counted, ADMIN) != before else None
