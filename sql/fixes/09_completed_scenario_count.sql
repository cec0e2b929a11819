-- 09 · Denormalized scenario count can drift
-- Locks: sessions and profiles, SHARE ROW EXCLUSIVE, while completed sessions are counted once. Writes wait, reads do not.
-- Repairs: profiles whose count is not the number of their completed sessions.
-- Clients: whoever adds a completion to completed_scenario_count counts it twice from here on, in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions, public.profiles in share row exclusive mode;

with truth as (
    select
        profiles.id,
        count(sessions.id) filter (where sessions.is_completed) as completed
    from public.profiles
    left join public.sessions on sessions.user_id = profiles.id
    group by profiles.id
)
insert into private.repairs (issue, table_name, row_id, before)
select 9, 'profiles', profiles.id, to_jsonb(profiles)
from public.profiles
join truth on truth.id = profiles.id
where profiles.completed_scenario_count <> truth.completed;

update public.profiles
set completed_scenario_count = (
        select count(*)
        from public.sessions
        where sessions.user_id = profiles.id
            and sessions.is_completed
    )
where id in (
    select row_id::uuid
    from private.repairs
    where issue = 9
        and table_name = 'profiles'
);

-- As the owner: a client must not be able to write the count, not even its own.
create function private.count_completion() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.profiles
    set completed_scenario_count = completed_scenario_count + 1
    where id = new.user_id;
    return null;
end;
$$;
comment on function private.count_completion() is
'Counts a completion in its learner''s profile, once (issue 9).';
revoke all on function private.count_completion() from public, anon, authenticated, service_role;

-- Completion is terminal since 03, so each session passes here once. A deletion changes nothing: it was completed.
create trigger sessions_count_inserted
after insert on public.sessions
for each row when (new.is_completed) execute function private.count_completion();
comment on trigger sessions_count_inserted on public.sessions is
'Counts a session that is inserted as completed (issue 9).';

create trigger sessions_count_completed
after update of is_completed on public.sessions
for each row when (new.is_completed and not old.is_completed) execute function private.count_completion();
comment on trigger sessions_count_completed on public.sessions is
'Counts a session when it becomes completed (issue 9).';

select private.name_constraint(
    'public.profiles', 'CHECK ((completed_scenario_count >= 0))', 'profiles_completed_scenario_count_check'
);
comment on column public.profiles.completed_scenario_count is
'Sessions that the learner ever completed, counted by a trigger; deleting a session takes none away (issue 9).';

commit;
