-- Anna's open session with five thousand messages more, one a second, in both chats by turns. Schema v2.

set local session_replication_role = replica;

insert into public.messages (session_id, role, chat_type, content, sent_at, user_id)
select
    :anna_open,
    'user',
    cast(case n % 2 when 0 then 'main' else 'helper' end as public.chat_type),
    'Nummer ' || n,
    now() - n * interval '1 second',
    :anna
from generate_series(1, 5000) as n;

analyze public.messages;
