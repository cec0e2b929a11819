-- Exercise 9: what needs the strong lock reads nothing and gives up soon; what reads everything lets the app write meanwhile.

set lock_timeout = '2s';

alter table public.messages
add constraint messages_client_id_of_users check (client_message_id is null or role = 'user') not valid;

alter table public.messages validate constraint messages_client_id_of_users;

create index concurrently messages_deleted_at_idx on public.messages (deleted_at) where deleted_at is not null;
