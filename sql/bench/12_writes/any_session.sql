-- A reply to any of many open sessions, as the backend writes it. Variables: sessions, how many; role, who speaks.
\set n random(0, :sessions - 1)
insert into public.messages (session_id, role, chat_type, content)
values (md5('open session ' || :n)::uuid, :role, 'main', 'Gern, das macht vier Euro fünfzig.');
