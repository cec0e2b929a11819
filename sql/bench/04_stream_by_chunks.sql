-- Streams replies by option B of issue 4: each fragment of 20 characters is a row, finalize_message() joins them.
-- Parameters: replies, fragments.

do $$
declare
    reply uuid;
begin
    for number in 1..:replies loop
        reply := gen_random_uuid();

        for seq in 1..:fragments loop
            insert into public.message_chunks (message_id, seq, session_id, chat_type, content)
            values (reply, seq, :anna_open, 'main', left(gen_random_uuid()::text, 20));
        end loop;

        perform public.finalize_message(reply);
    end loop;
end;
$$;
