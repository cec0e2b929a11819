-- Streams replies by option A of issue 4: each fragment of 20 characters rewrites its message.
-- Parameters: replies, fragments.

do $$
declare
    reply uuid;
begin
    for number in 1..:replies loop
        insert into public.messages (session_id, role, chat_type, content, is_final)
        values (:anna_open, 'scenario', 'main', '', false)
        returning id into reply;

        for seq in 1..:fragments loop
            update public.messages
            set content = content || left(gen_random_uuid()::text, 20)
            where id = reply;
        end loop;

        update public.messages
        set is_final = true
        where id = reply;
    end loop;
end;
$$;
