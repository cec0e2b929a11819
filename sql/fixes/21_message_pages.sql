-- 21 · Pagination stability for messages not guaranteed
-- Locks: messages, ACCESS EXCLUSIVE, while an index is built and two are dropped. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create index messages_session_id_sent_at_id_idx on public.messages (session_id, sent_at, id);
comment on index public.messages_session_id_sent_at_id_idx is
'Pages of a session''s messages, or of one of its two chats. The id decides among those of one instant (issue 21).';

-- The first is the beginning of the new index. The second a learner cannot use: under row-level security a condition goes into
-- an index only where its operator cannot leak what it is given, and that of an enum is not declared so. One chat is read
-- through the new index too, past the other one's messages.
select
    private.drop_index('public.messages', 'btree (session_id, sent_at)', 'idx_messages_session_chronological'),
    private.drop_index('public.messages', 'btree (session_id, chat_type, sent_at)', 'idx_messages_chat_type');

-- The planner takes a session and its learner for two things that have nothing to do with each other, finds few messages that have
-- both, and sorts them all. This tells it, the next time somebody analyzes the table, and costs no write anything.
create statistics public.messages_session_id_user_id_chat_type_stats (dependencies)
    on session_id, user_id, chat_type
    from public.messages;
comment on statistics public.messages_session_id_user_id_chat_type_stats is
'A session has one learner: so that the planner reads a page in order, also under the policy that asks for the learner (issue 21).';

-- now() is the moment at which a transaction began: question and answer that arrive in one request would tie, and their random
-- ids would decide.
alter table public.messages alter column sent_at set default clock_timestamp();

commit;
