-- Issue 4, option A, which was not chosen: a reply is a message from its first fragment on, and each fragment
-- updates it until is_final. Counts final messages only, as issue 11 asks.

begin;

alter table public.messages add column is_final boolean not null default true;
comment on column public.messages.is_final is 'False as long as the reply streams (issue 4, option A).';

create or replace function public.increment_message_count() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if not new.is_final then
        return new;
    end if;
    update public.sessions
    set message_count_main = message_count_main + (new.chat_type = 'main')::integer,
        message_count_helper = message_count_helper + (new.chat_type = 'helper')::integer,
        last_activity_at = now()
    where id = new.session_id;
    return new;
end;
$$;

create trigger increment_session_message_count_when_final
after update on public.messages
for each row when (new.is_final and not old.is_final) execute function public.increment_message_count();

commit;
