-- Tutoring by video: a tutor and a student share a session and write to each other in it.
-- Two owners a session, a sender a message, column grants, everything indexed; only the directory is open.

create table public.people (
    id uuid primary key references auth.users (id) on delete cascade,
    full_name text not null,
    is_tutor boolean not null default false,
    joined_at timestamptz not null default now(),
    deleted_at timestamptz
);

create table public.tutoring_sessions (
    id bigint generated always as identity primary key,
    tutor_id uuid not null references public.people (id) on delete restrict,
    student_id uuid not null references public.people (id) on delete restrict,
    subject text not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    check (tutor_id <> student_id),
    check (ended_at >= started_at)
);

create table public.session_messages (
    id bigint generated always as identity primary key,
    session_id bigint not null references public.tutoring_sessions (id) on delete cascade,
    sender_id uuid not null references public.people (id) on delete restrict,
    body varchar(4000) not null,
    sent_at timestamptz not null default clock_timestamp(),
    read_at timestamptz
);

create index tutoring_sessions_tutor_idx on public.tutoring_sessions (tutor_id, started_at desc);
create index tutoring_sessions_student_idx on public.tutoring_sessions (student_id, started_at desc);
create index session_messages_page_idx on public.session_messages (session_id, sent_at, id);
create index session_messages_sender_idx on public.session_messages (sender_id);

alter table public.people enable row level security;
alter table public.tutoring_sessions enable row level security;
alter table public.session_messages enable row level security;

revoke all on public.people, public.tutoring_sessions, public.session_messages from anon, authenticated;
grant select on public.people, public.tutoring_sessions, public.session_messages to authenticated;
grant update (full_name) on public.people to authenticated;
grant update (subject) on public.tutoring_sessions to authenticated;
grant insert (session_id, sender_id, body) on public.session_messages to authenticated;

create policy people_directory on public.people
    for select to authenticated using ((select auth.uid()) is not null);
create policy people_rename on public.people
    for update to authenticated using (id = (select auth.uid()));
create policy sessions_of_both on public.tutoring_sessions
    for select to authenticated using ((select auth.uid()) in (tutor_id, student_id));
create policy sessions_tutor_edits on public.tutoring_sessions
    for update to authenticated using (tutor_id = (select auth.uid()));
create policy messages_of_both on public.session_messages
    for select to authenticated using (
        exists (
            select from public.tutoring_sessions as s
            where s.id = session_messages.session_id and (select auth.uid()) in (s.tutor_id, s.student_id)
        )
    );
create policy messages_send on public.session_messages
    for insert to authenticated with check (
        sender_id = (select auth.uid())
        and exists (
            select from public.tutoring_sessions as s
            where s.id = session_messages.session_id and (select auth.uid()) in (s.tutor_id, s.student_id)
        )
    );
