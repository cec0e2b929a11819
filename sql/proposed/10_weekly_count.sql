-- Issue 10 as proposed: triggers on update and delete that count the week's completed sessions again.

create function public.recalculate_week() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    learner uuid := coalesce(new.user_id, old.user_id);
begin
    update public.profiles
    set current_week_completion_count = (
        select count(*)
        from public.sessions
        where user_id = learner
            and is_completed
            and completed_at >= week_reset_date - interval '7 days'
    )
    where id = learner;
    return null;
end;
$$;

create trigger recalculate_week
after update or delete on public.sessions
for each row execute function public.recalculate_week();
