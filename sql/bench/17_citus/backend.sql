-- A reply to any of many open sessions, as the backend writes it. Variable: sessions, how many.
\set n random(0, :sessions - 1)
insert into public.messages (user_id, session_id, role, chat_type, content)
values (
    md5('writer ' || cast(:n as text))::uuid, md5('open session ' || cast(:n as text))::uuid,
    'assistant', 'main', 'Gern, das macht vier Euro fünfzig.'
);
