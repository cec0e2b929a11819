-- A reply to any of many open sessions, as the backend writes it. Variables: sessions, how many; role, who speaks; ordered, 1 where the
-- sessions have keys in the order of time.
\set n random(0, :sessions - 1)
insert into public.messages (session_id, role, chat_type, content)
values (
    case when cast(:ordered as integer) = 1 then '01980000-0000-7000-8000-' || lpad(cast(:n as text), 12, '0')
        else md5('open session ' || cast(:n as text))
    end::uuid,
    :role, 'main', 'Gern, das macht vier Euro fünfzig.'
);
