-- The same as newest.sql without a policy: the query names the user.
\set n 1 + (:n + 7) % :learners
begin;
select set_config('request.jwt.claims', jsonb_build_object('sub', md5('learner ' || :n)::uuid, 'role', 'service_role')::text, true);
select id, content from public.messages where user_id = md5('learner ' || :n)::uuid order by sent_at desc limit 50;
commit;
