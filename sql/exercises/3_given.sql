-- Exercise 3: three hundred messages of one import, sent in three moments only.

set local session_replication_role = replica;
insert into public.messages (session_id, user_id, role, chat_type, content, sent_at)
select sessions.id, sessions.user_id, 'user', 'helper', 'Frage ' || n, timestamptz '2020-01-01' + (n % 3) * interval '1 second'
from public.sessions
cross join generate_series(1, 300) as n
where sessions.is_completed;
set local session_replication_role = origin;
analyze public.messages;
