-- public.messages_archive
-- What changes: distributed by user_id; the key is (user_id, id).
-- Why: a message is archived on the node where it lies.
-- Locks: messages_archive, while the rows go to the workers.
-- Clients: nothing; only the backend reads it.

set local lock_timeout = '5s';
alter table public.messages_archive drop constraint messages_archive_pkey;
alter table public.messages_archive add constraint messages_archive_pkey primary key (user_id, id);
comment on constraint messages_archive_pkey on public.messages_archive is
'With the learner first, as a distributed key has to have them.';
select create_distributed_table('public.messages_archive', 'user_id', colocate_with => 'public.sessions');
alter table public.messages_archive
add constraint messages_archive_session_id_user_id_fkey
foreign key (session_id, user_id) references public.sessions (id, user_id) on update restrict on delete cascade;
