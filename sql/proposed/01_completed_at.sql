-- Issue 1 as proposed: a default in the trigger that v1 has, and the check.

create or replace function public.calculate_session_duration() returns trigger
language plpgsql
as $$
begin
    if new.is_completed and not old.is_completed then
        new.completed_at := coalesce(new.completed_at, now());
        new.duration_seconds = extract(epoch from new.completed_at - new.started_at)::integer;
    end if;
    return new;
end;
$$;

alter table public.sessions add check (
    (is_completed and completed_at is not null) or (not is_completed and completed_at is null)
);
