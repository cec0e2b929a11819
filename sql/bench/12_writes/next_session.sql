-- A reply to the next of many open sessions, as the backend writes it. Variables: n, the last session; sessions, how many; role, who
-- speaks.
\set n (:n + 1) % :sessions
insert into public.messages (session_id, role, chat_type, content)
values (md5('open session ' || :n)::uuid, :role, 'main', 'Gern, das macht vier Euro fünfzig.');
