-- A learner's message, as the API sends it: who is calling, then the statement. Variables: n, the last learner; sessions.
\set n (:n + 1) % :sessions
begin;
select set_config('request.jwt.claims', jsonb_build_object('sub', md5('writer ' || :n)::uuid, 'role', 'authenticated')::text, true);
insert into public.messages (session_id, role, chat_type, content)
values (md5('open session ' || :n)::uuid, 'user', 'main', 'Ich hätte gern ein Kilo Äpfel, bitte.');
commit;
