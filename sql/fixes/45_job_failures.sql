-- 45 · No error monitoring for cleanup functions
-- Locks: event_types, ROW EXCLUSIVE, for a new row. No read and no write waits.
-- Repairs: nothing.
-- Clients: a job that fails raises nothing, in silence: its row says status failed, and an error stands in logs.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

insert into public.event_types (code, description)
values ('job_failed', 'A job failed; its work was undone.');

-- Restated from 32: a failure is returned, not raised. Raised again, it would roll the log back with everything else.
create or replace function private.run_job(job text, event_type text, work text) returns private.job_result
language plpgsql
set search_path = ''
as $$
declare
    result private.job_result;
begin
    perform private.refuse_client();
    result.job_id := gen_random_uuid();
    result.job := job;
    result.status := 'ok';

    begin
        execute run_job.work into result.affected, result.window_start, result.window_end, result.remaining, result.error;
    exception
        -- OTHERS leaves out two: query_canceled, which is what a statement timeout raises, and assert_failure.
        when query_canceled or assert_failure or others then
            result.status := 'failed';
            result.affected := 0;
            result.window_start := null;
            result.window_end := null;
            result.remaining := null;
            result.error := format('%s: %s', sqlstate, sqlerrm);
    end;

    insert into public.logs (level, event_type, message, metadata)
    values (
        case result.status when 'ok' then 'info' else 'error' end,
        case result.status when 'ok' then run_job.event_type else 'job_failed' end,
        case result.status
            when 'ok' then concat_ws('; ', format('%s: %s rows', result.job, result.affected), result.error)
            else format('%s: %s', result.job, result.error)
        end,
        to_jsonb(result)
    );
    if result.status = 'failed' then
        -- A payload has 8000 bytes at the most; the log has all of it.
        perform pg_notify(
            'job_failed',
            jsonb_build_object('job_id', result.job_id, 'job', result.job, 'error', left(result.error, 1000))::pg_catalog.text
        );
    end if;
    return result;
end;
$$;
comment on function private.run_job(text, text, text) is
'Does a job''s work, logs what it did, and returns it (issue 32). A failure undoes the work, is logged as an error, notifies '
'job_failed, and is returned (issue 45).';

-- Restated from 32: a failing batch would fail again.
create or replace procedure private.run_weekly_reset(batch_size integer default 1000)
language plpgsql
as $$
declare
    result private.job_result;
begin
    loop
        result := public.reset_weekly_limits(batch_size);
        commit;
        exit when result.status = 'failed' or result.affected = 0;
    end loop;
end;
$$;

commit;
