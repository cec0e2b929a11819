-- Exercise 5: a place for old messages, and some that are old enough.

create table public.old_messages (like public.messages including defaults);
comment on table public.old_messages is 'Messages of more than a year ago.';
alter table public.old_messages add constraint old_messages_pkey primary key (id);
alter table public.old_messages owner to workbook_owner;

set local session_replication_role = replica;
update public.messages
set sent_at = sent_at - interval '14 months'
where session_id in (select id from public.sessions where is_completed);
set local session_replication_role = origin;
