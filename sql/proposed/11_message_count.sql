-- Issue 11 as proposed: the trigger function of v1 with the review's branch.

create or replace function public.increment_message_count() returns trigger
language plpgsql
as $$
begin
    if new.chat_type = 'main' then
        update sessions
        set message_count_main = message_count_main + 1,
            last_activity_at = now()
        where id = new.session_id;
    elsif new.chat_type = 'helper' then
        update sessions
        set message_count_helper = message_count_helper + 1,
            last_activity_at = now()
        where id = new.session_id;
    ELSE
        RAISE EXCEPTION 'Invalid chat_type: %', NEW.chat_type;
    end if;
    return new;
end;
$$;
