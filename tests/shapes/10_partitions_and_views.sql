-- A school's chat with a helper, and what the school reads of it: months of messages, reports, who is online.
-- Partitions, an inheritance child, views of both kinds, materialized views, a realtime publication.

create table public.students (
    id uuid primary key references auth.users (id) on delete cascade,
    display_name text not null,
    created_at timestamptz not null default now()
);

create table public.conversations (
    id uuid primary key default gen_random_uuid(),
    student_id uuid not null references public.students (id) on delete cascade,
    created_at timestamptz not null default now()
);
create index conversations_student_idx on public.conversations (student_id, created_at);

create table public.messages (
    id uuid not null default gen_random_uuid(),
    conversation_id uuid not null references public.conversations (id) on delete cascade,
    role text not null check (role in ('student', 'writing_assistant')),
    content text not null check (octet_length(content) < 65536),
    created_at timestamptz not null default now(),
    primary key (id, created_at)
) partition by range (created_at);
create table public.messages_2026_11 partition of public.messages for values from ('2026-11-01') to ('2026-12-01');
create table public.messages_rest partition of public.messages default;
create index messages_page_idx on public.messages (conversation_id, created_at, id);

create table public.event_kinds (name text primary key);
create table public.audit_logs (
    id bigint generated always as identity,
    event_type text not null references public.event_kinds (name) on update cascade,
    student_id uuid references public.students (id) on update restrict on delete set null,
    conversation_id uuid references public.conversations (id) on update restrict on delete set null,
    metadata jsonb not null default '{}',
    logged_at timestamptz not null default now(),
    primary key (id, logged_at)
) partition by range (logged_at);
create table public.audit_logs_2026 partition of public.audit_logs for values from ('2026-01-01') to ('2027-01-01');
create index audit_logs_session_idx on public.audit_logs (conversation_id, logged_at);
create index audit_logs_student_idx on public.audit_logs (student_id);
create index audit_logs_kind_idx on public.audit_logs (event_type);
revoke all on public.audit_logs, public.audit_logs_2026 from anon, authenticated;

create table public.notes (
    id bigint generated always as identity primary key,
    student_id uuid not null references public.students (id) on delete cascade,
    body text not null
);
create index notes_student_idx on public.notes (student_id);
create table public.teacher_notes (is_secret boolean not null default true) inherits (public.notes);

create table public.presence (
    student_id uuid primary key references public.students (id) on delete cascade,
    seen_at timestamptz not null default now()
);

create view public.student_activity as
select s.display_name, count(*) as conversations
from public.students as s inner join public.conversations as c on s.id = c.student_id
group by s.id;
create view public.my_conversations with (security_invoker = on) as
select id, created_at from public.conversations;
create view public.staff_overview as select id, student_id from public.conversations;
revoke all on public.staff_overview from anon, authenticated;

create materialized view public.weekly_usage as
select date_trunc('week', created_at) as week, count(*) as messages from public.messages group by date_trunc('week', created_at);
create materialized view public.staff_usage as select count(*) as messages from public.messages;
revoke all on public.staff_usage from anon, authenticated;

create publication supabase_realtime for table public.conversations, public.presence;

alter table public.students enable row level security;
alter table public.conversations enable row level security;
alter table public.messages enable row level security;
alter table public.event_kinds enable row level security;
alter table public.audit_logs enable row level security;
alter table public.notes enable row level security;

create policy own_row on public.students for select using (id = (select auth.uid()));
create policy own_conversations on public.conversations for select using (student_id = (select auth.uid()));
create policy start_conversation on public.conversations for insert with check (student_id = (select auth.uid()));
create policy own_messages on public.messages for select using (
    conversation_id in (select id from public.conversations where student_id = (select auth.uid()))
);
create policy ask on public.messages for insert with check (
    role = 'student' and conversation_id in (select id from public.conversations where student_id = (select auth.uid()))
);
create policy kinds on public.event_kinds for select using (true);
create policy own_notes on public.notes for select using (student_id = (select auth.uid()));
