-- Issue 18 as proposed: the column filled by a trigger where it is missing, a bare auth.uid(), and no index.

alter table public.messages add column user_id uuid;
update public.messages
set user_id = sessions.user_id
from public.sessions
where sessions.id = messages.session_id;
alter table public.messages alter column user_id set not null;

create function public.set_message_user() returns trigger
language plpgsql
as $$
begin
    if new.user_id is null then
        new.user_id := (select user_id from sessions where id = new.session_id);
    end if;
    return new;
end;
$$;

create trigger set_message_user
before insert on public.messages
for each row execute function public.set_message_user();

drop policy messages_select_own_authenticated on public.messages;
drop policy messages_insert_own_authenticated on public.messages;
create policy messages_select_own on public.messages for select using (auth.uid() = user_id);
create policy messages_insert_own on public.messages for insert with check (auth.uid() = user_id);
