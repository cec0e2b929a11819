-- Exercise 8: two features that copy what learners write, and messages that have moved to the archive already.

create table public.search_texts (
    message_id uuid primary key,
    content text not null
);
alter table public.search_texts owner to workbook_owner;
comment on table public.search_texts is 'What the full-text search looks through.';

create table public.session_exports (
    session_id uuid primary key references public.sessions (id) on delete cascade on update restrict,
    document jsonb not null
);
alter table public.session_exports owner to workbook_owner;
comment on table public.session_exports is 'Sessions as their learners have downloaded them.';

set local session_replication_role = replica;
insert into public.search_texts (message_id, content)
select
    id,
    content
from public.messages;
insert into public.session_exports (session_id, document)
select
    session_id,
    jsonb_build_object('lines', jsonb_agg(content order by sent_at, id))
from public.messages
group by session_id;
with moved as (
    delete from public.messages
    where session_id in (select id from public.sessions where is_completed)
    returning id, session_id, user_id, role, chat_type, content, sent_at
)
insert into public.messages_archive (id, session_id, user_id, role, chat_type, content, sent_at)
select
    id,
    session_id,
    user_id,
    role,
    chat_type,
    content,
    sent_at
from moved;
set local session_replication_role = origin;
