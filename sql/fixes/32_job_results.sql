-- 32 · Session cleanup not fully idempotent
-- Locks: logs, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.
-- Clients: jobs return a row instead of a number: read its column affected.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create type private.job_result as (
    job_id uuid,
    job text,
    status text,
    affected bigint,
    window_start timestamptz,
    window_end timestamptz,
    error text,
    remaining bigint
);
comment on type private.job_result is
'What a job did: its run''s id, its name, ok or failed, rows affected, the oldest moment among them, the moment that it worked '
'up to, why it failed or what it left undone, and how much that is; null where there may be more batches (issue 32).';

alter table public.logs add column message text;
comment on column public.logs.message is 'The event in a sentence, for people (issue 32).';

-- Every job goes through here, so each is logged alike. The work is a query that returns affected, window_start, window_end,
-- remaining, and what was left undone.
create function private.run_job(job text, event_type text, work text) returns private.job_result
language plpgsql
set search_path = ''
as $$
declare
    result private.job_result;
begin
    perform private.refuse_client();
    result.job_id := gen_random_uuid();
    result.job := run_job.job;
    result.status := 'ok';

    execute run_job.work into result.affected, result.window_start, result.window_end, result.remaining, result.error;

    insert into public.logs (level, event_type, message, metadata)
    values (
        'info',
        run_job.event_type,
        concat_ws('; ', format('%s: %s rows', result.job, result.affected), result.error),
        to_jsonb(result)
    );
    return result;
end;
$$;
comment on function private.run_job(text, text, text) is
'Does a job''s work, logs what it did, and returns it (issue 32).';
revoke all on function private.run_job(text, text, text) from public, anon, authenticated, service_role;

create function private.delete_sessions(
    candidates uuid[], idle_since timestamptz, out affected bigint, out oldest timestamptz
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
begin
    with deleted as (
        delete from public.sessions
        where sessions.id = any (candidates)
            and not sessions.is_completed
            and sessions.last_activity_at < idle_since
            and not exists (
                select
                from public.message_chunks
                where message_chunks.session_id = sessions.id
                    and message_chunks.created_at >= now() - interval '1 day'
            )
        returning sessions.last_activity_at
    )
    select count(*), min(deleted.last_activity_at)
    into affected, oldest
    from deleted;
    -- A key that is checked at the end of the transaction is checked here, where somebody can still do something about it.
    set constraints all immediate;
end;
$$;
comment on function private.delete_sessions(uuid[], timestamptz) is
'Deletes those of some sessions that are idle and open, and in which no reply is streaming (issue 32).';
revoke all on function private.delete_sessions(uuid[], timestamptz) from public, anon, authenticated, service_role;

create function private.expire_sessions(
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    expired pg_catalog.uuid[];
    session pg_catalog.uuid;
begin
    window_end := now() - interval '7 days';

    -- Locked in a statement of their own, so that the next one sees a reply which has just begun. A session that
    -- somebody holds is in use, whatever its date says.
    select array_agg(candidate.id)
    into expired
    from (
        select sessions.id
        from public.sessions
        where not sessions.is_completed
            and sessions.last_activity_at < window_end
        for update skip locked
    ) as candidate;

    affected := 0;
    begin
        select gone.affected, gone.oldest
        into affected, window_start
        from private.delete_sessions(expired, window_end) as gone;
    exception
        -- Something of a team's own refers to one, to a message of it, or to what would go with that. It stays, and does not hold up
        -- the others: from here on they go one by one.
        when foreign_key_violation or restrict_violation then
            foreach session in array expired loop
                begin
                    select affected + gone.affected, least(window_start, gone.oldest)
                    into affected, window_start
                    from private.delete_sessions(array[session], window_end) as gone;
                exception
                    when foreign_key_violation or restrict_violation then
                        null;
                end;
            end loop;
    end;

    select count(*)
    into remaining
    from public.sessions
    where not sessions.is_completed
        and sessions.last_activity_at < window_end;
    if remaining > 0 then
        undone := format('%s sessions are in use, or referred to', remaining);
    end if;

    -- Whole replies only: the beginning of one that still streams may be old.
    delete from public.message_chunks
    where message_id in (
        select message_id
        from public.message_chunks
        group by message_id
        having max(created_at) < now() - interval '1 day'
    );
end;
$$;
comment on function private.expire_sessions() is
'Deletes sessions left open for over 7 days, and replies that nobody went on with for over a day (issues 4 and 32).';
revoke all on function private.expire_sessions() from public, anon, authenticated, service_role;

-- Restated from 04, 30 and 31 with another result type: the old functions have to go, and their grants with them.
create temporary table held on commit drop as
select pronamespace::regnamespace || '.' || proname as name, proacl as acl
from pg_proc
where oid in (
    'public.delete_expired_sessions()'::regprocedure,
    'public.delete_old_logs()'::regprocedure,
    'public.reset_weekly_limits(integer)'::regprocedure
);
select
    private.require_plain_function('public.delete_expired_sessions()'),
    private.require_plain_function('public.delete_old_logs()'),
    private.require_plain_function('public.reset_weekly_limits(integer)');
drop function public.delete_expired_sessions();
drop function public.delete_old_logs();
drop function public.reset_weekly_limits(integer);

create function public.delete_expired_sessions() returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job(
        'delete_expired_sessions', 'session_expiration_cleanup', 'select * from private.expire_sessions()'
    );
$$;
comment on function public.delete_expired_sessions() is
'Job: deletes sessions left open for over 7 days, and abandoned replies (issues 4 and 32).';
revoke all on function public.delete_expired_sessions() from public, anon, authenticated;

create function public.delete_old_logs() returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job('delete_old_logs', 'cleanup_job_executed', 'select * from private.drop_old_logs()');
$$;
comment on function public.delete_old_logs() is
'Job: removes logs over 30 days old, by whole months where it can (issues 30 and 32).';
revoke all on function public.delete_old_logs() from public, anon, authenticated;

create function public.reset_weekly_limits(batch_size integer default 1000) returns private.job_result
language sql
security definer
set search_path = ''
as $$
    select private.run_job(
        'reset_weekly_limits', 'weekly_limit_reset', format('select * from private.reset_weeks(%L)', batch_size)
    );
$$;
comment on function public.reset_weekly_limits(integer) is
'Job: starts a new week for one batch of the profiles whose week is over; call it until affected is 0 (issues 31 and 32).';
revoke all on function public.reset_weekly_limits(integer) from public, anon, authenticated;

select private.grant_again('function', remade.signature, held.acl)
from held
join (values
    ('public.delete_expired_sessions', 'public.delete_expired_sessions()'),
    ('public.delete_old_logs', 'public.delete_old_logs()'),
    ('public.reset_weekly_limits', 'public.reset_weekly_limits(integer)')
) as remade (name, signature) on remade.name = held.name;
drop table held;

create or replace procedure private.run_weekly_reset(batch_size integer default 1000)
language plpgsql
as $$
declare
    result private.job_result;
begin
    loop
        result := public.reset_weekly_limits(batch_size);
        commit;
        exit when result.affected = 0;
    end loop;
end;
$$;

commit;
