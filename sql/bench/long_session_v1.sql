-- Anna's open session with five thousand messages more, one a second, in both chats by turns. Schema v1.

set local session_replication_role = replica;

insert into public.messages (session_id, role, chat_type, content, timestamp)
select
    :anna_open,
    'user',
    case n % 2 when 0 then 'main' else 'helper' end,
    'Nummer ' || n,
    now() - n * interval '1 second'
from generate_series(1, 5000) as n;

analyze public.messages;
