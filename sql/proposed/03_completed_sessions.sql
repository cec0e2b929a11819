-- Issue 3 as proposed: a trigger that looks at the session, and does not lock it.

create function public.prevent_messages_in_completed_sessions() returns trigger
language plpgsql
as $$
begin
    if (select is_completed from sessions where id = new.session_id) then
        raise exception 'session is completed';
    end if;
    return new;
end;
$$;

create trigger prevent_messages_in_completed_sessions
before insert on public.messages
for each row execute function public.prevent_messages_in_completed_sessions();
