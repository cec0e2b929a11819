-- Exercise 3: the id decides between messages of one moment, in the order and in the condition.

select id, sent_at
from public.messages
where session_id = :session
    and chat_type = 'helper'
    and (sent_at, id) > (:sent_at, :id)
order by sent_at, id
limit 7
