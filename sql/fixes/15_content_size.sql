-- 15 · No hard content size limits on messages
-- Locks: messages, ACCESS EXCLUSIVE, while its rows are repaired and checked once. Reads and writes wait.
-- Repairs: longer messages keep their first 8000 characters; their full text is recorded.
-- Clients: a message of over 8000 characters is refused (23514).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages in access exclusive mode;

insert into private.repairs (issue, table_name, row_id, before)
select 15, 'messages', messages.id, to_jsonb(messages)
from public.messages
where char_length(content) > 8000;

update public.messages
set content = left(content, 8000)
where char_length(content) > 8000;

alter table public.messages
    add constraint messages_content_size_limit check (char_length(content) <= 8000);
comment on constraint messages_content_size_limit on public.messages is
'8000 characters, not bytes: up to 32000 bytes of emoji (issue 15).';

comment on column public.messages.content is
'What was said, at most 8000 characters; empty once the learner is erased (issues 15 and 35).';

commit;
