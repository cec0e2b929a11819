-- 49 · B3 · A learner may speak as the assistant, and in the past
-- Locks: messages, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing: nobody can tell a forged message from a real one.
-- Clients: a learner sends no id and no role but user (42501); a retry carries client_message_id.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Not among them: id, user_id, sent_at and what says that a message is deleted.
revoke insert, update, delete on public.messages from anon, authenticated;
grant insert (session_id, role, chat_type, content, client_message_id) on public.messages to authenticated;

-- Restated from 18.
drop policy messages_insert_own on public.messages;
select private.require_no_other_policy('public.messages', '{select,insert,update,delete}', '{messages_select_own}');
create policy messages_insert_own on public.messages
    for insert to authenticated with check (user_id = (select auth.uid()) and role = 'user');
comment on policy messages_insert_own on public.messages is
'A learner writes into their own sessions (issue 18), and as themselves (B3).';

commit;
