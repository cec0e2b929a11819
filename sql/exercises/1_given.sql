-- Exercise 1: bookmarks, a new table that nobody has protected yet.

create table public.bookmarks (
    message_id uuid not null references public.messages (id) on delete cascade on update restrict,
    user_id uuid not null references public.profiles (id) on delete cascade on update restrict,
    created_at timestamptz not null default now(),
    constraint bookmarks_pkey primary key (message_id, user_id)
);
alter table public.bookmarks owner to workbook_owner;
comment on table public.bookmarks is 'Messages that a learner wants to find again.';
grant select, insert, delete on public.bookmarks to authenticated;

insert into public.bookmarks (message_id, user_id)
select messages.id, messages.user_id
from public.messages
where messages.role = 'assistant';
