-- 17 · Part of the contract on Citus, on one machine: the client sends user_id, and the keys of messages begin with it.
-- Not applied by any fix. With it an app's statements go to one machine and to several alike.
-- Locks: messages, ACCESS EXCLUSIVE, while two keys are built.
-- Clients: may send user_id; one that is not the session's is refused (42501 for a learner, 23503 for the backend). ON CONFLICT names
-- (user_id, session_id, client_message_id), or (user_id, id).

begin;

set local statement_timeout = 0;
set local lock_timeout = '5s';

grant insert (user_id) on public.messages to authenticated;

do $$
declare
    admit text := pg_get_functiondef('private.admit_message()'::regprocedure);
    refuse text := pg_get_functiondef('private.admit_or_refuse(public.messages, boolean, boolean)'::regprocedure);
begin
    -- Null is nobody's word, and the session's user is taken, as before.
    admit := replace(admit, 'where id = new.session_id', 'where id = new.session_id and user_id = coalesce(said, user_id)');
    -- Where no row is found, RETURNING leaves nothing of what was said.
    admit := replace(admit, 'main constant', 'said constant pg_catalog.uuid := new.user_id; main constant');
    execute replace(
        admit, 'new.user_id := private.admit_or_refuse', 'new.user_id := said; new.user_id := private.admit_or_refuse'
    );
    execute replace(
        refuse,
        'where sessions.id = message.session_id',
        'where sessions.id = message.session_id and sessions.user_id = coalesce(message.user_id, sessions.user_id)'
    );
end;
$$;

alter table public.messages drop constraint messages_client_message_id_unique;
alter table public.messages
add constraint messages_client_message_id_unique unique (user_id, session_id, client_message_id);
comment on constraint messages_client_message_id_unique on public.messages is 'A retry is the same message (issue 46).';
alter table public.messages drop constraint messages_pkey;
alter table public.messages add constraint messages_pkey primary key (user_id, id);
comment on constraint messages_pkey on public.messages is 'With the learner first, as a distributed key has to have them.';
-- What is stored under an id is looked for by the id alone.
create index messages_id_idx on public.messages (id);
comment on index public.messages_id_idx is 'For the look whether an id is taken.';

commit;
