-- The newest messages of one learner after the other, under the policies. Variables: n, the last learner; learners, how many.
\set n 1 + (:n + 7) % :learners
begin;
select set_config('request.jwt.claims', jsonb_build_object('sub', md5('learner ' || :n)::uuid, 'role', 'authenticated')::text, true);
select id, content from public.messages order by sent_at desc limit 50;
commit;
