"""Checks of the review's chapter Scalability: notebook 05_scalability."""

import psycopg

from ..actors import ADMIN, NAMES, SERVICE
from ..concurrency import concurrently
from ..database import Database
from .trying import accepts, check


@check(29)
def event_types(database: Database) -> str | None:
    """Add a kind of event with one row, and log one of it; a kind that nobody added must be refused."""
    log = "insert into public.logs (level, event_type) values ('info', 'lesson_rated')"
    add = "insert into public.event_types (code, description) values ('lesson_rated', 'A learner rated a lesson.')"
    if not accepts(database, f"{add}; {log}"):
        return "a new kind of event needs a migration"
    return "a kind that nobody added is taken" if accepts(database, log) else None


@check(30)
def logs_partitions(database: Database) -> str | None:
    """Look for partitions out of the API's reach, write at the end of months, and drop an old month as a whole."""
    partitions = database.run(
        "select relnamespace::regnamespace::text as schema from pg_inherits join pg_class on pg_class.oid = inhrelid"
        " where inhparent = to_regclass('public.logs')",
        ADMIN,
    )["schema"]
    if partitions.empty:
        return "logs is one table: old rows go one by one"
    if "public" in partitions.tolist():
        return "a partition can be read past the policies"
    log = "insert into public.logs (level, event_type, created_at) values ('info', 'user_logout', :at)"
    for at in ("2028-02-29 23:59:59.999999+00", "2027-12-31 12:00+00"):
        if not accepts(database, log, at=at):
            return f"no partition for {at[:10]}"
    database.run(log, SERVICE, at="2020-05-31 12:00+00")
    database.run(log, SERVICE, at="2020-05-01 00:00+00")
    database.run("select public.delete_old_logs()", SERVICE)
    kept = database.value("select count(*) from public.logs where created_at < '2020-06-01'")
    return f"{kept} old logs are kept" if kept else None


@check(31)
def weekly_reset_batches(database: Database) -> str | None:
    """Let both weeks be over and hold one profile: the reset must do the other one and not wait."""
    database.run("update public.profiles set week_reset_date = now() - interval '1 day'", SERVICE)
    with concurrently(database, app=SERVICE, job=SERVICE) as (app, job):
        app("update public.profiles set updated_at = now() where id = :anna")
        waited = job("select public.reset_weekly_limits()").waited
        app.commit()
        job.commit()
    if waited:
        return "the reset waits for one learner's transaction"
    over = database.run("select id::text from public.profiles where week_reset_date <= now()")["id"].tolist()
    return None if over == [NAMES["anna"]] else f"{len(over)} weeks are still over"


@check(32)
def job_results(database: Database) -> str | None:
    """Run a job: it must return its run and its window, and log the same."""
    try:
        result = database.value("select to_jsonb(public.delete_expired_sessions())", SERVICE)
    except psycopg.Error:
        return "the job fails, because its log does not fit"
    if not isinstance(result, dict):
        return "a job returns a bare number"
    if not {"job_id", "affected", "window_start", "window_end"} <= result.keys():
        return f"a job returns {', '.join(result)}"
    logged = database.value("select count(*) from public.logs where metadata ->> 'job_id' = :job", job=result["job_id"])
    return None if logged == 1 else "a job's run is not logged"


@check(33)
def archive_messages(database: Database) -> str | None:
    """Age one message by fourteen months and archive: it must be in the archive, once, and the others where they were."""
    if database.value("select to_regprocedure('public.archive_old_messages(integer, integer)') is null"):
        return "no job archives old messages"
    database.run(
        "set local session_replication_role = replica;"
        " update public.messages set sent_at = now() - interval '14 months' where session_id = :ben_open and role <> 'user'",
        ADMIN,
    )
    old = database.value("select count(*) from public.messages where sent_at < now() - interval '12 months'")
    count = "select (select count(*) from public.messages), (select count(*) from public.messages_archive)"
    before = database.run(count, ADMIN).iloc[0].tolist()
    database.run("select public.archive_old_messages()", SERVICE)
    after = database.run(count, ADMIN).iloc[0].tolist()
    return None if after == [before[0] - old, before[1] + old] else f"{before} messages and archived ones became {after}"
