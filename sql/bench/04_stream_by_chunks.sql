-- Streams a reply by option B of issue 4: each fragment of 20 characters is a row.
-- Called once for each fragment, as the app would; the last one is followed by finalize_message().

create function pg_temp.stream(reply integer, seq integer, length integer) returns void
language plpgsql
as $$
declare
    reply_id constant uuid := md5(format('reply %s of %s', reply, length));
    fragment constant text := left(md5(format('%s %s', reply, seq)), 20);
begin
    insert into public.message_chunks (message_id, seq, session_id, chat_type, content)
    values (reply_id, seq, :anna_open, 'main', fragment);

    if seq = length then
        perform public.finalize_message(reply_id);
    end if;
end;
$$;
