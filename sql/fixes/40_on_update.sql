-- 40 · No foreign key ON UPDATE behavior defined
-- Locks: sessions, messages, message_chunks, messages_archive, logs, profiles, scenarios and event_types, ACCESS EXCLUSIVE, while
-- every foreign key is checked once. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions, public.messages, public.message_chunks, public.messages_archive, public.logs,
    public.profiles, public.scenarios, public.event_types
    in access exclusive mode;

-- RESTRICT wherever the key goes on into messages: those are never changed (issue 37), so their keys cannot be.
alter table public.messages
    drop constraint messages_session_id_user_id_fkey,
    add constraint messages_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade on update restrict;
comment on constraint messages_session_id_user_id_fkey on public.messages is
'A message has the user of its session (issue 18), and its key never changes (issue 40).';

alter table public.message_chunks
    drop constraint message_chunks_session_id_user_id_fkey,
    add constraint message_chunks_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade on update restrict;
comment on constraint message_chunks_session_id_user_id_fkey on public.message_chunks is
'A fragment has the user of its session (issue 18), and its key never changes (issue 40).';

alter table public.messages_archive
    drop constraint messages_archive_session_id_user_id_fkey,
    add constraint messages_archive_session_id_user_id_fkey
        foreign key (session_id, user_id) references public.sessions (id, user_id) on delete cascade on update restrict;
comment on constraint messages_archive_session_id_user_id_fkey on public.messages_archive is
'An archived message has the user of its session (issue 33), and its key never changes (issue 40).';

select
    private.drop_foreign_key(
        'public.sessions', 'user_id', 'FOREIGN KEY (user_id) REFERENCES public.profiles(id) ON DELETE CASCADE'
    ),
    private.drop_foreign_key(
        'public.sessions', 'scenario_id', 'FOREIGN KEY (scenario_id) REFERENCES public.scenarios(id) ON DELETE RESTRICT'
    );
alter table public.sessions
    add constraint sessions_user_id_fkey
        foreign key (user_id) references public.profiles (id) on delete cascade on update restrict,
    add constraint sessions_scenario_id_fkey
        foreign key (scenario_id) references public.scenarios (id) on delete restrict on update cascade;
comment on constraint sessions_user_id_fkey on public.sessions is
'A session belongs to a learner; the key goes on into messages, so it never changes (issue 40).';
comment on constraint sessions_scenario_id_fkey on public.sessions is
'A played scenario is never deleted; a new id for it follows here (issue 40).';

alter table public.logs
    drop constraint logs_user_id_fkey,
    add constraint logs_user_id_fkey
        foreign key (user_id) references public.profiles (id) on delete set null on update cascade,
    drop constraint logs_session_id_fkey,
    add constraint logs_session_id_fkey
        foreign key (session_id) references public.sessions (id) on delete set null on update cascade,
    drop constraint logs_event_type_fkey,
    add constraint logs_event_type_fkey
        foreign key (event_type) references public.event_types (code) on delete restrict on update cascade;
comment on constraint logs_user_id_fkey on public.logs is
'A log outlives the learner whom it concerns (issue 40).';
comment on constraint logs_session_id_fkey on public.logs is
'A log outlives the session that it concerns (issue 40).';
comment on constraint logs_event_type_fkey on public.logs is
'A log is of a known kind (issue 29), also when the kind is renamed (issue 40).';

comment on column public.messages.session_id is
'The session that it belongs to; a session''s id never changes (issue 40).';
comment on column public.sessions.scenario_id is
'The scenario that is played. Its id may change, and the session follows (issue 40).';
comment on column public.profiles.id is
'The id of the auth user, who may be gone: the profile stays behind for the history (issues 35 and 40).';

commit;
