-- Exercise 5: one statement. What it deletes is what it stores, with whatever somebody changed at the last moment.

with moved as (
    delete from public.messages
    where sent_at < now() - interval '12 months'
    returning *
)
insert into public.old_messages
select * from moved
