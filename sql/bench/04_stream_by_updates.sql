-- Streams a reply by option A of issue 4: each fragment of 20 characters rewrites the message.
-- Called once for each fragment, as the app would; the last one makes the message final.

create function pg_temp.stream(reply integer, seq integer, length integer) returns void
language plpgsql
as $$
declare
    reply_id constant uuid := md5(format('reply %s of %s', reply, length));
    fragment constant text := left(md5(format('%s %s', reply, seq)), 20);
begin
    if seq = 1 then
        insert into public.messages (id, session_id, role, chat_type, content, is_final)
        values (reply_id, :anna_open, 'scenario', 'main', fragment, false);
    else
        update public.messages
        set content = content || fragment,
            is_final = (seq = length)
        where id = reply_id;
    end if;
end;
$$;
