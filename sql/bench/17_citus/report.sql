-- How many messages each role has written: a question to all shards.
select role, count(*) from public.messages group by role;
