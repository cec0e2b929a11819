-- A reply into one session, the same for all clients. Variable: role, who speaks.
insert into public.messages (session_id, role, chat_type, content)
values (md5('open session 0')::uuid, :role, 'main', 'Gern, das macht vier Euro fünfzig.');
