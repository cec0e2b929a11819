-- public.sessions
-- What changes: distributed by user_id. The key is (user_id, id), which was a second one before.
-- Why: a learner's sessions lie where the profile lies. A key has to contain the learner.
-- Locks: sessions and all that refers to it, while the rows go to the workers.
-- Clients: an id alone still finds its session, in all shards; with user_id it asks one. A foreign key of a team's own has to refer
-- to (user_id, id).

set local lock_timeout = '5s';
alter table public.messages drop constraint messages_session_id_user_id_fkey;
alter table public.messages_archive drop constraint messages_archive_session_id_user_id_fkey;
alter table public.message_chunks drop constraint message_chunks_session_id_user_id_fkey;
alter table public.logs drop constraint logs_session_id_fkey;

alter table public.sessions drop constraint sessions_pkey;
alter table public.sessions drop constraint sessions_user_id_id_key;
alter table public.sessions add constraint sessions_pkey primary key (user_id, id);
comment on constraint sessions_pkey on public.sessions is
'With the learner first, as a distributed key has to have them; what messages refer to.';

-- A policy of a shard cannot look into another table. A deleted account's sessions are closed, and a trigger asks for the account
-- before a new one.
drop policy sessions_select_own on public.sessions;
create policy sessions_select_own on public.sessions for select to authenticated
using (user_id = auth.uid());
comment on policy sessions_select_own on public.sessions is 'A learner reads their own sessions (issue 51).';
drop policy sessions_insert_own on public.sessions;
create policy sessions_insert_own on public.sessions for insert to authenticated
with check (user_id = auth.uid());
comment on policy sessions_insert_own on public.sessions is
'A learner starts sessions of their own; sessions_hold_account_of_client asks whether the account lives (issues 35 and 51).';
drop policy sessions_update_own on public.sessions;
create policy sessions_update_own on public.sessions for update to authenticated
using (user_id = auth.uid() and closed_at is null)
with check (user_id = auth.uid());
comment on policy sessions_update_own on public.sessions is
'A learner completes their own sessions while the account lives (issues 35 and 51).';
drop policy sessions_delete_own on public.sessions;
create policy sessions_delete_own on public.sessions for delete to authenticated
using (user_id = auth.uid() and not is_completed and closed_at is null);
comment on policy sessions_delete_own on public.sessions is
'A learner gives up an open session of their own while the account lives; a completed one is history (issues 35 and 50).';

-- Triggers on INSERT come back when the rows are on their shards: until then they would fire for each of them.
drop trigger sessions_count_inserted on public.sessions;
drop trigger sessions_completion on public.sessions;
drop trigger sessions_completion_by_client on public.sessions;
drop trigger sessions_hold_account on public.sessions;
drop trigger sessions_hold_account_of_client on public.sessions;

-- A change of a distributed row takes no CASE on what the clock says, so the moment is a value.
select private.rewrite(
    'private.count_completion()',
    'begin', 'declare moment constant pg_catalog.timestamptz := now(); begin',
    'when week_reset_date <= now() then', 'when week_reset_date <= moment then',
    'week_start(now())', 'week_start(moment)',
    'next_week_reset(now())', 'next_week_reset(moment)'
);

select create_distributed_table('public.sessions', 'user_id', colocate_with => 'public.profiles');
create trigger sessions_count_inserted after insert on public.sessions
for each row when (new.is_completed) execute function private.count_completion();
comment on trigger sessions_count_inserted on public.sessions is 'Counts a session that is inserted as completed (issue 9).';
create trigger sessions_completion before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (not row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('server');
comment on trigger sessions_completion on public.sessions is 'Sets completed_at and duration_seconds, so that nobody has to (issue 1).';
create trigger sessions_completion_by_client before insert or update of is_completed, started_at, completed_at, duration_seconds on public.sessions
for each row when (row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('client');
comment on trigger sessions_completion_by_client on public.sessions is
'Sets completed_at and duration_seconds by the server''s clock, whatever the client says (issue 1).';
create trigger sessions_hold_account before insert on public.sessions
for each row when (not row_security_active('public.sessions'::regclass)) execute function private.hold_account('server');
comment on trigger sessions_hold_account on public.sessions is 'A deleted account starts no sessions (issue 35).';
create trigger sessions_hold_account_of_client before insert on public.sessions
for each row when (row_security_active('public.sessions'::regclass)) execute function private.hold_account('client');
comment on trigger sessions_hold_account_of_client on public.sessions is
'A deleted account starts no sessions, and a stranger''s says nothing about itself (issue 35).';


alter table public.sessions
add constraint sessions_scenario_id_fkey foreign key (scenario_id) references public.scenarios (id) on update restrict on delete restrict;
-- ON UPDATE stays RESTRICT, as it is in v2: a key that decides where a row lies never changes.
alter table public.sessions
add constraint sessions_user_id_fkey foreign key (user_id) references public.profiles (id) on update restrict on delete cascade;
