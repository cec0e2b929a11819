-- Issue 32 as proposed: the review's statement, quoted, in the clean-up job of v1.

create or replace function public.delete_expired_sessions() returns integer
language plpgsql
security definer
SET search_path = public, pg_temp
as $$
declare
    deleted_count integer;
    min_ts timestamptz;
    max_ts timestamptz;
begin
    with deleted as (
        delete from sessions
        where not is_completed
            and last_activity_at < now() - interval '7 days'
        returning last_activity_at
    )
    select count(*), min(last_activity_at), max(last_activity_at)
    into deleted_count, min_ts, max_ts
    from deleted;

    INSERT INTO logs (level, event_type, message, metadata)
    VALUES ('info', 'cleanup_completed', 'Deleted expired sessions',
      jsonb_build_object(
        'job_id', gen_random_uuid(),
        'deleted_count', deleted_count,
        'min_timestamp', min_ts,
        'max_timestamp', max_ts
      )
    );
    return deleted_count;
end;
$$;
