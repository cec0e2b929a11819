-- Exercise 9: some more messages. Imagine ten million, and learners who write all the time.

set local session_replication_role = replica;
insert into public.messages (session_id, user_id, role, chat_type, content)
select
    sessions.id,
    sessions.user_id,
    'user',
    'main',
    'Satz ' || n
from public.sessions
cross join generate_series(1, 1000) as n;
set local session_replication_role = origin;
analyze public.messages;
