-- 32 · Session cleanup not fully idempotent
-- Locks: logs, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.
-- Clients: jobs return a row instead of a number: read its column affected.

begin;

set local statement_timeout = 0;
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

-- A team's tables may refer to sessions and messages, in ways that only the catalog knows.
create function private.not_referred_to(target regclass, alias text, on_delete text) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select coalesce(string_agg(
            format('not exists (select from %s as referring where %s)', conrelid::pg_catalog.regclass, condition), ' and '
            order by conrelid::pg_catalog.regclass::pg_catalog.text, condition
        ), 'true')
        from pg_catalog.pg_constraint
        cross join lateral (
            select string_agg(format('referring.%I = %I.%I', theirs.attname, alias, ours.attname), ' and ' order by key.place) as condition
            from unnest(conkey, confkey) with ordinality as key (their_column, our_column, place)
            join pg_catalog.pg_attribute as theirs on theirs.attrelid = conrelid and theirs.attnum = their_column
            join pg_catalog.pg_attribute as ours on ours.attrelid = confrelid and ours.attnum = our_column
        ) as matching
        where contype = 'f'
            and confrelid = target
            and conparentid = 0
            and confdeltype::pg_catalog.text = any (string_to_array(on_delete, null))
    );
end;
$$;
comment on function private.not_referred_to(regclass, text, text) is
'A condition in SQL: no row refers to this one by a foreign key whose ON DELETE is one of these letters of the catalog (issues 32 and '
'33).';
revoke all on function private.not_referred_to(regclass, text, text) from public, anon, authenticated, service_role;

create function private.expire_sessions(
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
-- A team's table whose policies hide its rows from here must be an error, and not no rows.
set row_security = off
as $$
declare
    expired pg_catalog.uuid[];
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

    -- One that must not go as long as something refers to it, or to a message of it, stays and does not hold up the rest.
    execute format(
        'with deleted as (
            delete from public.sessions
            where sessions.id = any ($1)
                and not sessions.is_completed
                and sessions.last_activity_at < $2
                and not exists (
                    select
                    from public.message_chunks
                    where message_chunks.session_id = sessions.id
                        and message_chunks.created_at >= now() - interval ''1 day''
                )
                and %s
                and not exists (select from public.messages where messages.session_id = sessions.id and not (%s))
            returning sessions.last_activity_at
        )
        select count(*), min(deleted.last_activity_at)
        from deleted',
        private.not_referred_to('public.sessions', 'sessions', 'ar'),
        private.not_referred_to('public.messages', 'messages', 'ar')
    )
    into affected, window_start
    using expired, window_end;

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
