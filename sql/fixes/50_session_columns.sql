-- 50 · B4 · A learner may rewrite a session's counts and dates
-- Locks: sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing; issues 1, 8 and 12 have repaired what cannot be true.
-- Clients: a learner starts a session with user_id and scenario_id alone and sends no heartbeat (42501); the deletion of a
-- completed session finds no row, in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- A session begins with a learner and a scenario, and ends by being completed. Triggers write everything else.
revoke insert, update, delete on public.sessions from anon, authenticated;
grant insert (user_id, scenario_id), update (is_completed), delete on public.sessions to authenticated;

-- Restated from 35: the new row is checked as well, and a completed session is history.
drop policy sessions_update_own on public.sessions;
create policy sessions_update_own on public.sessions
    for update to authenticated
    using (
        user_id = (select auth.uid())
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    )
    with check (user_id = (select auth.uid()));
comment on policy sessions_update_own on public.sessions is
'A learner with an account completes their own sessions (issue 35, B4).';
drop policy sessions_delete_own on public.sessions;
create policy sessions_delete_own on public.sessions
    for delete to authenticated using (
        user_id = (select auth.uid())
        and not is_completed
        and exists (select from public.profiles where profiles.id = (select auth.uid()))
    );
comment on policy sessions_delete_own on public.sessions is
'A learner with an account gives up a session that they have not completed (issue 35, B4).';

-- Nobody else may give one away either: its messages and its completion were counted for whoever started it.
create function private.keep_session_user() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception using
        errcode = 'restrict_violation',
        message = 'a session stays with the learner who started it',
        detail = format('session %s', old.id),
        hint = 'Start a new session for the other learner.';
end;
$$;
comment on function private.keep_session_user() is
'Keeps a session from changing hands, whoever asks (B4).';
revoke all on function private.keep_session_user() from public, anon, authenticated, service_role;

create trigger sessions_keep_user
before update of user_id on public.sessions
for each row when (new.user_id <> old.user_id) execute function private.keep_session_user();
comment on trigger sessions_keep_user on public.sessions is
'A session stays with the learner who started it (B4).';

comment on table public.sessions is
'One play of a scenario by one learner, open until it is completed or expires. A learner starts it, completes it and deletes '
'it; all else is the server''s (issue 50).';
comment on column public.sessions.id is
'The session. It stays as it is: messages refer to it (issue 40).';
comment on column public.sessions.user_id is
'The learner who started it, and who keeps it (issue 50).';

commit;
