-- Exercise 8: every copy by the learner's ids, wherever the original is by now, and then the original.

create function public.forget_learner(learner uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    delete from public.search_texts
    where message_id in (
            select id from public.messages where user_id = learner
            union all
            select id from public.messages_archive where user_id = learner
        );
    delete from public.session_exports
    where session_id in (select id from public.sessions where user_id = learner);
    perform public.erase_user(learner);
end;
$$;
