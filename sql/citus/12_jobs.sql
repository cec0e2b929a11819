-- The jobs: private.expire_sessions(), private.reset_weeks(), private.move_old_messages()
-- What changes: each job is one statement for all shards. It waits for whoever holds a row, where v2's job skips it.
-- Why: SKIP LOCKED does not go to several shards at once.
-- The removal of old logs changes partitions, which refer to a reference table, so it goes from shard to shard.
-- Locks: nothing.
-- Clients: nothing. A job may take as long as the slowest writer that it meets; lock_timeout holds for it as for anybody.

create or replace function private.expire_sessions(
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    yesterday constant pg_catalog.timestamptz := now() - interval '1 day';
begin
    window_end := now() - interval '7 days';
    with deleted as (
        delete from public.sessions
        where not sessions.is_completed
            and sessions.last_activity_at < window_end
            and not exists (
                select
                from public.message_chunks
                where message_chunks.user_id = sessions.user_id
                    and message_chunks.session_id = sessions.id
                    and message_chunks.created_at >= yesterday
            )
        returning sessions.last_activity_at
    )
    select count(*), min(deleted.last_activity_at)
    into affected, window_start
    from deleted;
    select count(*)
    into remaining
    from public.sessions
    where not sessions.is_completed
        and sessions.last_activity_at < window_end;
    if remaining > 0 then
        undone := format('%s sessions are in use', remaining);
    end if;
    -- Whole replies only: the beginning of one that still streams may be old.
    delete from public.message_chunks as chunk
    where not exists (
        select
        from public.message_chunks as later
        where later.user_id = chunk.user_id
            and later.message_id = chunk.message_id
            and later.created_at >= yesterday
    );
end;
$$;
drop function private.delete_sessions(uuid[], timestamptz);

create or replace function private.reset_weeks(
    batch_size integer,
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    next_reset constant pg_catalog.timestamptz := private.next_week_reset(now());
    batch pg_catalog.uuid[];
begin
    if batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'batch_size has to be 1 or more',
            hint = 'Leave it out for the default.';
    end if;
    window_end := now();
    select array_agg(due.id), min(due.week_reset_date)
    into batch, window_start
    from (
        select profiles.id, profiles.week_reset_date
        from public.profiles
        where profiles.week_reset_date <= window_end
        order by profiles.week_reset_date
        limit batch_size
    ) as due;
    -- A learner who completed a session meanwhile has begun the new week by that.
    update public.profiles
    set current_week_completion_count = 0,
        week_reset_date = next_reset
    where profiles.id = any (batch)
        and profiles.week_reset_date <= window_end;
    get diagnostics affected = row_count;
    if affected < batch_size then
        select count(*)
        into remaining
        from public.profiles
        where profiles.week_reset_date <= window_end;
    end if;
end;
$$;

create or replace function private.move_old_messages(
    cutoff_months integer, batch_size integer,
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
set timezone = 'UTC'
set row_security = off
as $$
#variable_conflict use_variable
declare
    learners pg_catalog.uuid[];
    batch pg_catalog.uuid[];
begin
    if cutoff_months is null or cutoff_months < 1 or batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'cutoff_months and batch_size have to be 1 or more',
            hint = 'Leave them out for the defaults.';
    end if;
    window_end := now() - make_interval(months => cutoff_months);
    select array_agg(distinct old.user_id), array_agg(old.id), min(old.sent_at)
    into learners, batch, window_start
    from (
        select messages.user_id, messages.id, messages.sent_at
        from public.messages
        where messages.sent_at < window_end
        limit batch_size
    ) as old;
    -- One statement moves: a message is in exactly one of the two tables, whatever happens and whoever looks.
    with moved as (
        delete from public.messages
        where messages.user_id = any (learners)
            and messages.id = any (batch)
        returning messages.*
    )
    insert into public.messages_archive (
        id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason, client_message_id
    )
    select
        moved.id, moved.session_id, moved.user_id, moved.role, moved.chat_type, moved.content, moved.sent_at, moved.deleted_at,
        moved.deleted_reason, moved.client_message_id
    from moved;
    get diagnostics affected = row_count;
    if coalesce(cardinality(batch), 0) < batch_size then
        remaining := 0;
    end if;
end;
$$;

-- What is sent to a shard takes no CASE that compares with a value of the function's.
select private.rewrite(
    'private.run_job(text, text, text)',
    'case result.status when ''ok'' then', 'case when result.status = ''ok'' then',
    'case result.status
            when ''ok'' then', 'case
            when result.status = ''ok'' then'
);

select private.rewrite(
    'private.drop_old_logs()',
    'SET lock_timeout TO ''5s''', 'SET lock_timeout TO ''5s'' SET citus.multi_shard_modify_mode TO ''sequential'''
);
