-- 21 · Pagination stability for messages not guaranteed
-- Locks: messages, ACCESS EXCLUSIVE, while two indexes are built and two are dropped. Reads and writes wait.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

create index messages_session_id_sent_at_id_idx on public.messages (session_id, sent_at, id);
comment on index public.messages_session_id_sent_at_id_idx is
'Pages of a session''s messages. The id decides among those of one instant, and one transaction has one instant (issue 21).';

create index messages_session_id_chat_type_sent_at_id_idx on public.messages (session_id, chat_type, sent_at, id);
comment on index public.messages_session_id_chat_type_sent_at_id_idx is
'Pages of one of a session''s two chats (issue 21).';

-- Each is the beginning of one of the new indexes.
drop index public.idx_messages_session_chronological;
drop index public.idx_messages_chat_type;

commit;
