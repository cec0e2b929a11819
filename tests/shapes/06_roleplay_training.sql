-- Role plays for sales teams: trainees practise scenarios in training sessions, line by line, with a weekly quota.
-- Completion, score and counters, a speaker for each line, two channels, an event log, jobs, and Flyway's history.

create table public.flyway_schema_history (
    installed_rank integer primary key,
    version varchar(50),
    description varchar(200) not null,
    script varchar(1000) not null,
    installed_on timestamp not null default now(),
    success boolean not null
);

create table public.trainees (
    id uuid primary key references auth.users (id) on delete cascade,
    email text not null check (btrim(email) <> ''),
    is_admin boolean not null default false,
    completed_count integer not null default 0,
    week_count integer not null default 0,
    week_ends_at timestamptz not null,
    last_seen timestamptz
);

create table public.scenarios (
    id integer primary key,
    title text not null unique,
    opening_message text not null,
    is_active boolean not null default true,
    sort_order integer not null default 0,
    created_at timestamptz not null default now()
);

create table public.training_sessions (
    id uuid primary key default gen_random_uuid(),
    trainee_id uuid not null references public.trainees (id) on delete cascade,
    scenario_id integer not null references public.scenarios (id),
    is_completed boolean not null default false,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    message_count integer not null default 0 check (message_count >= 0),
    score integer,
    duration_seconds integer,
    created_at timestamptz not null default now()
);

create table public.dialogue_lines (
    id uuid primary key default gen_random_uuid(),
    training_session_id uuid not null references public.training_sessions (id) on delete cascade,
    speaker text not null check (speaker in ('trainee', 'customer', 'coach')),
    channel text not null check (channel in ('roleplay', 'coaching')),
    content text not null,
    spoken_at timestamptz not null default now(),
    created_at timestamptz not null default now()
);

create table public.event_logs (
    id uuid primary key default gen_random_uuid(),
    event_type text not null,
    trainee_id uuid references public.trainees (id) on delete set null,
    training_session_id uuid references public.training_sessions (id) on delete set null,
    metadata jsonb,
    created_at timestamptz not null default now()
);

create unique index trainees_email_key on public.trainees (lower(email));
create index training_sessions_trainee_idx on public.training_sessions (trainee_id, completed_at);
create index dialogue_lines_session_idx on public.dialogue_lines (training_session_id);

create function public.sync_trainee() returns trigger language plpgsql security definer set search_path = public as $$
begin
    if tg_op = 'INSERT' then
        insert into trainees (id, email, week_ends_at) values (new.id, new.email, now() + interval '168 hours');
    else
        update trainees set email = new.email where id = new.id;
    end if;
    return new;
end $$;
create trigger sync_trainee after insert or update of email on auth.users for each row execute function public.sync_trainee();

create function public.count_line() returns trigger language plpgsql set search_path = '' as $$
begin
    if new.channel = 'roleplay' then
        update public.training_sessions set message_count = message_count + 1 where id = new.training_session_id;
    end if;
    return new;
end $$;
create trigger count_line after insert on public.dialogue_lines for each row execute function public.count_line();

create function public.count_completion() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    update public.trainees set completed_count = completed_count + 1, week_count = week_count + 1 where id = new.trainee_id;
    return new;
end $$;
create trigger count_completion after update of is_completed on public.training_sessions
for each row when (new.is_completed and not old.is_completed) execute function public.count_completion();

create function public.end_weeks() returns integer language plpgsql security definer as $$
declare ended integer;
begin
    update trainees set week_count = 0, week_ends_at = now() + interval '168 hours' where week_ends_at <= now();
    get diagnostics ended = row_count;
    return ended;
end $$;

alter table public.trainees enable row level security;
alter table public.scenarios enable row level security;
alter table public.training_sessions enable row level security;
alter table public.dialogue_lines enable row level security;
alter table public.event_logs enable row level security;
revoke select on public.scenarios from anon;
grant select (id, title, is_active, sort_order) on public.scenarios to anon;
create policy own_trainee on public.trainees for select to authenticated using (id = (select auth.uid()));
create policy no_own_sign_up on public.trainees for insert to authenticated with check (false);
create policy edit_own_trainee on public.trainees for update to authenticated using (id = (select auth.uid()));
create policy active_scenarios on public.scenarios for select using (is_active = true);
create policy own_sessions on public.training_sessions for all to authenticated using (trainee_id = (select auth.uid()));
create policy own_lines on public.dialogue_lines for all to authenticated using (training_session_id in (
    select id from public.training_sessions where trainee_id = (select auth.uid())
));
create policy own_events on public.event_logs for select to authenticated using (trainee_id = (select auth.uid()));
create policy report_event on public.event_logs for insert to anon, authenticated with check (true);
