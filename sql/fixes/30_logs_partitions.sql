-- 30 · No logs table partitioning
-- Locks: logs, and the tables it refers to (profiles, sessions, event_types), ACCESS EXCLUSIVE, while all logs are copied into
-- partitions and indexed. Reads and writes of all four wait: the costliest fix where logs are many.
-- Repairs: nothing; every row is copied as it is.

begin;

set local lock_timeout = '5s';
lock table public.logs, public.profiles, public.sessions, public.event_types in access exclusive mode;

-- A table cannot become partitioned: a new one takes its name and its rows.
alter table public.logs set schema private;

-- The primary key has to contain what the table is partitioned by.
create table public.logs (
    id uuid not null default gen_random_uuid(),
    level text not null,
    event_type text not null,
    user_id uuid,
    session_id uuid,
    metadata jsonb,
    created_at timestamptz not null default now(),
    constraint logs_pkey primary key (id, created_at),
    constraint logs_level_check check (level in ('error', 'warn', 'info', 'debug')),
    constraint logs_event_type_fkey foreign key (event_type) references public.event_types (code),
    constraint logs_user_id_fkey foreign key (user_id) references public.profiles (id) on delete set null,
    constraint logs_session_id_fkey foreign key (session_id) references public.sessions (id) on delete set null
)
partition by range (created_at);
comment on table public.logs is
'What happened, for support and for alarms, a partition a month (issue 30). Written by the service role and by jobs only; '
'a learner reads their own (issue 24).';
comment on column public.logs.id is 'The event. The key adds created_at, as partitions ask for, so nothing but chance keeps an id unique.';
comment on column public.logs.level is 'error, warn, info or debug; an error is what an alarm looks for.';
comment on column public.logs.event_type is 'What kind of event, one of event_types.';
comment on column public.logs.user_id is 'The learner whom it concerns, if any.';
comment on column public.logs.session_id is 'The session that it concerns, if any.';
comment on column public.logs.metadata is 'Whatever else is known of the event.';
comment on column public.logs.created_at is 'When it happened; decides the partition.';
comment on constraint logs_event_type_fkey on public.logs is
'A log is of a known kind (issue 29).';

-- Restated from 24, from v1 (with auth.uid() asked once) and from v1's grants.
alter table public.logs enable row level security;
create policy logs_insert_none on public.logs
    as restrictive for insert to anon, authenticated with check (false);
comment on policy logs_insert_none on public.logs is
'No client writes logs. The service role does: it has BYPASSRLS, so no policy is asked (issue 24).';
create policy logs_select_own on public.logs
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy logs_select_own on public.logs is
'A learner reads what concerns them.';
revoke insert, update, delete on public.logs from anon, authenticated;

-- Partitions lie in private: one in public could be read there, past the policies of logs.
create table private.logs_default (like public.logs including defaults including constraints);
alter table public.logs attach partition private.logs_default default;  -- noqa: PRS
comment on table private.logs_default is
'Logs that no month''s partition is for, such as those of a clock that runs ahead. private.ensure_log_partitions() moves each '
'row out once it makes that row''s month.';

create function private.create_log_partition(month timestamptz) returns void
language plpgsql
set search_path = ''
as $$
declare
    -- From the first instant of the month to the first of the next, which no longer belongs to it. In UTC, whatever
    -- the session's TimeZone is.
    from_at constant pg_catalog.timestamptz := date_trunc('month', month, 'UTC');
    to_at constant pg_catalog.timestamptz := (from_at at time zone 'UTC' + interval '1 month') at time zone 'UTC';
    name constant pg_catalog.text := to_char(from_at at time zone 'UTC', '"logs_y"YYYY"m"MM');
begin
    -- One at a time, and whoever waited looks again.
    perform pg_advisory_xact_lock(hashtextextended('log partitions', 0));
    if to_regclass(format('private.%I', name)) is not null then
        return;
    end if;

    -- Rows of this month may have landed in the default partition, and none may come while they move. The tables that
    -- logs refers to are locked by ATTACH anyway: all at once, and in the order in which the app goes from one to the next.
    lock table public.profiles, public.sessions, public.event_types, public.logs in share row exclusive mode;
    execute format(
        'create table private.%I (like public.logs including defaults including constraints)', name
    );
    execute format(
        'with moved as (delete from private.logs_default where created_at >= %L and created_at < %L returning *) '
        'insert into private.%I select * from moved',
        from_at, to_at, name
    );
    execute format('alter table public.logs attach partition private.%I for values from (%L) to (%L)', name, from_at, to_at);
    execute format('comment on table private.%I is %L', name, format('Logs of %s UTC.', to_char(from_at at time zone 'UTC', 'YYYY-MM')));
end;
$$;
comment on function private.create_log_partition(timestamptz) is
'Makes the partition of the month that a moment lies in, and moves its rows there from the default one (issue 30).';
revoke all on function private.create_log_partition(timestamptz) from public;

create function private.ensure_log_partitions() returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
-- Less than deadlock_timeout: whoever holds what this needs goes on, and this gives up.
set lock_timeout = '200ms'
as $$
declare
    month pg_catalog.timestamptz;
    last_month constant pg_catalog.timestamptz := date_trunc('month', now()) + interval '2 months';
begin
    -- This month and the next two, and every month that the default partition holds rows of. A clock that is off by
    -- decades makes no partition: its rows stay where they are.
    for month in
        select generate_series(date_trunc('month', now()), last_month, interval '1 month')
        union
        select date_trunc('month', created_at)
        from private.logs_default
        where created_at >= timestamp with time zone '2000-01-01'
            and created_at < last_month + interval '1 month'
        order by 1
    loop
        perform private.create_log_partition(month);
    end loop;
end;
$$;
comment on function private.ensure_log_partitions() is
'Makes the partitions of this month, the next two, and of each earlier month since 2000 that has rows in the default one '
'(issue 30).';
revoke all on function private.ensure_log_partitions() from public;

do $$
declare
    month timestamptz;
begin
    for month in
        select distinct date_trunc('month', created_at, 'UTC')
        from private.logs
        where created_at >= timestamptz '2000-01-01 00:00+00'
            and created_at < (date_trunc('month', now() at time zone 'UTC') + interval '3 months') at time zone 'UTC'
        order by 1
    loop
        perform private.create_log_partition(month);
    end loop;
    perform private.ensure_log_partitions();
end;
$$;

insert into public.logs (id, level, event_type, user_id, session_id, metadata, created_at)
select id, level, event_type, user_id, session_id, metadata, created_at
from private.logs;

do $$
begin
    if (select count(*) from private.logs) <> (select count(*) from public.logs) then
        raise exception 'not every log was copied';
    end if;
end;
$$;
drop table private.logs;

-- Built after the rows are in, which is faster than keeping them up to date meanwhile.
create index idx_logs_level on public.logs (level);
create index idx_logs_event_type on public.logs (event_type);
create index idx_logs_created_at on public.logs (created_at desc);
create index idx_logs_level_created on public.logs (level, created_at desc);
create index idx_logs_user on public.logs (user_id) where user_id is not null;
create index logs_session_id_created_at_idx on public.logs (session_id, created_at desc) where session_id is not null;
comment on index public.logs_session_id_created_at_idx is
'The logs of one session, newest first; also what a deleted session''s foreign key looks up (issue 19).';
create index logs_metadata_idx on public.logs using gin (metadata jsonb_path_ops);
comment on index public.logs_metadata_idx is
'Logs by what their metadata contain, such as an error code: metadata @> ''{"code": "E42"}'' (issue 23).';

create function private.drop_old_logs(out affected bigint, out window_start timestamptz, out window_end timestamptz)
language plpgsql
set search_path = ''
set lock_timeout = '5s'
set timezone = 'UTC'
as $$
declare
    month pg_catalog.record;
    old_months pg_catalog.text[] := '{}';
    name pg_catalog.text;
    emptied bigint;
    oldest pg_catalog.timestamptz;
begin
    -- One run at a time.
    perform pg_advisory_xact_lock(hashtextextended('log partitions', 0));
    affected := 0;
    window_end := now() - interval '30 days';

    -- A month that is over 30 days old to its last instant is emptied as a whole: no row is read but to be counted.
    for month in
        select partition.relname
        from pg_catalog.pg_inherits
        join pg_catalog.pg_class as partition on partition.oid = pg_inherits.inhrelid
        where pg_inherits.inhparent = 'public.logs'::pg_catalog.regclass
            and partition.relname ~ '^logs_y\d{4}m\d{2}$'
            and to_date(substr(partition.relname, 7), 'YYYY"m"MM') + interval '1 month' <= window_end
        order by 1
    loop
        execute format('lock table private.%I in access exclusive mode', month.relname);
        execute format('select count(*), min(created_at) from private.%I', month.relname) into emptied, oldest;
        execute format('truncate private.%I', month.relname);
        old_months := old_months || month.relname::pg_catalog.text;
        affected := affected + emptied;
        window_start := least(window_start, oldest);
    end loop;

    -- The days of the month in which the 30th day back lies, and whatever stands in the default partition.
    with deleted as (
        delete from public.logs
        where created_at < window_end
        returning created_at
    )
    select count(*), min(created_at)
    into emptied, oldest
    from deleted;
    affected := affected + emptied;
    window_start := least(window_start, oldest);

    -- The empty partitions go last: that locks logs and the tables that it refers to until the job commits, which is
    -- at once. Where somebody holds one of them the job does not queue up in front of everybody else: an empty
    -- partition can wait for the next run.
    perform set_config('lock_timeout', '200ms', true);
    begin
        foreach name in array old_months loop
            execute format('alter table public.logs detach partition private.%I', name);
            execute format('drop table private.%I', name);
        end loop;
    exception
        when lock_not_available or deadlock_detected then
            null;
    end;

    -- So do the partitions of the months to come; until then the default one takes their logs.
    begin
        perform private.ensure_log_partitions();
    exception
        when lock_not_available or deadlock_detected then
            null;
    end;
end;
$$;
comment on function private.drop_old_logs() is
'Empties and drops the partitions that are over 30 days old, deletes what else is, and returns how many rows and the oldest '
'(issue 30).';
revoke all on function private.drop_old_logs() from public;

-- Restated from 26.
create or replace function public.delete_old_logs() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    deleted_count integer;
begin
    select affected
    into deleted_count
    from private.drop_old_logs();

    insert into public.logs (level, event_type, metadata)
    values ('info', 'cleanup_job_executed', jsonb_build_object('deleted_logs', deleted_count));
    return deleted_count;
end;
$$;
comment on function public.delete_old_logs() is
'Removes logs over 30 days old, by whole months where it can (issue 30).';

commit;
