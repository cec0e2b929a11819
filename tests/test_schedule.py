"""What chapter 05 tells to schedule runs as it stands there, and a job that does not run is noticed."""

import psycopg
import pytest
from workbook import SERVICE, Database, clone, jobs

CRON = """
create schema cron;
create table cron.job (jobname text primary key, schedule text not null, command text not null);
create function cron.schedule(job_name text, schedule text, command text) returns void language sql
    as $$ insert into cron.job values (job_name, schedule, command) $$
"""
JOBS = [job["job"] for job in jobs.declared()]


@pytest.fixture(scope="module")
def scheduled() -> Database:
    """Schema v2 whose jobs have all run once, as pg_cron runs them: each command as the only statement of its connection."""
    v2 = clone("v2")
    v2.run(CRON)
    v2.run(jobs.schedule())
    with v2.connect() as connection:
        connection.execute("set role workbook_owner")
        for (command,) in connection.execute("select command from cron.job order by jobname").fetchall():
            connection.execute(command)
    return v2


def test_every_job_that_runs_by_the_clock_is_scheduled(scheduled: Database) -> None:
    functions = scheduled.run(
        "select proname::text as name from pg_proc"
        " where pronamespace = 'public'::regnamespace and prorettype = 'private.job_result'::regtype"
    )["name"].tolist()
    # A request of a learner's, and no matter of the clock.
    assert sorted(JOBS) == sorted(set(functions) - {"erase_user"})


def test_all_have_run_well(scheduled: Database) -> None:
    logged = scheduled.run(
        "select metadata ->> 'job' as job, metadata ->> 'status' as status from public.logs group by 1, 2 order by 1"
    )
    assert dict(logged.itertuples(index=False)) == dict.fromkeys(JOBS, "ok")
    assert jobs.find_overdue(scheduled) == []


def test_one_that_did_not_run_is_noticed(scheduled: Database) -> None:
    stopped = scheduled.copy()
    stopped.run(
        "update public.logs set created_at = now() - interval '9 days' where metadata ->> 'job' = 'forget_addresses'", SERVICE
    )
    assert jobs.find_overdue(stopped) == ["forget_addresses"]
    stopped.run("select public.delete_expired_sessions()", SERVICE)
    stopped.run("delete from public.logs where metadata ->> 'job' = 'delete_expired_sessions'", SERVICE)
    assert jobs.find_overdue(stopped) == ["delete_expired_sessions", "forget_addresses"]
    assert jobs.find_overdue(clone("v2")) == sorted(JOBS)


@pytest.mark.parametrize("job", jobs.declared(), ids=lambda job: job["job"])
def test_as_the_service_role_where_the_list_says_so(scheduled: Database, job: dict[str, str]) -> None:
    if "service role" in job["as"]:
        scheduled.run(job["statement"], SERVICE)
    else:
        scheduled.refused(job["statement"], SERVICE, code="42501")


def test_the_weekly_reset_works_as_the_sole_statement_only(scheduled: Database) -> None:
    with scheduled.connect() as connection:
        connection.execute("set role workbook_owner")
        with pytest.raises(psycopg.errors.InvalidTransactionTermination):
            connection.execute("select 1; call private.run_weekly_reset()")
