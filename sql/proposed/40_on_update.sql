-- Issue 40 as proposed: the review's clause on every foreign key of v1.

alter table public.profiles
    drop constraint profiles_id_fkey,
    add constraint profiles_id_fkey foreign key (id) references auth.users (id) ON DELETE CASCADE ON UPDATE CASCADE;
alter table public.sessions
    drop constraint sessions_user_id_fkey,
    add constraint sessions_user_id_fkey foreign key (user_id) references public.profiles (id)
    ON DELETE CASCADE ON UPDATE CASCADE,
    drop constraint sessions_scenario_id_fkey,
    add constraint sessions_scenario_id_fkey foreign key (scenario_id) references public.scenarios (id)
    on delete restrict ON UPDATE CASCADE;
alter table public.messages
    drop constraint messages_session_id_fkey,
    add constraint messages_session_id_fkey foreign key (session_id) references public.sessions (id)
    ON DELETE CASCADE ON UPDATE CASCADE;
alter table public.logs
    drop constraint logs_user_id_fkey,
    add constraint logs_user_id_fkey foreign key (user_id) references public.profiles (id)
    on delete set null ON UPDATE CASCADE,
    drop constraint logs_session_id_fkey,
    add constraint logs_session_id_fkey foreign key (session_id) references public.sessions (id)
    on delete set null ON UPDATE CASCADE;
