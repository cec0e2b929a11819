-- The newest messages of any learner's session, as the backend reads them. Variable: learners, how many.
\set n random(1, :learners)
select id, role, content, sent_at
from public.messages
where user_id = md5('learner ' || cast(:n as text))::uuid
    and session_id = md5('session ' || cast(:n as text))::uuid
order by sent_at desc, id desc
limit 20;
