-- Schema v1, as reviewed: every default, name and flaw is on purpose, because the flaws are the subject.
-- Written for a database with the platform's schemas and roles. Do not deploy.

begin;

create table public.profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    email text not null,
    completed_scenario_count integer not null default 0 check (completed_scenario_count >= 0),
    current_week_completion_count integer not null default 0 check (current_week_completion_count >= 0),
    week_reset_date timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table public.scenarios (
    id integer primary key,
    title text not null,
    emoji text not null,
    initial_message_main text not null,
    initial_message_helper text not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now()
);

create table public.sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.profiles (id) on delete cascade,
    scenario_id integer not null references public.scenarios (id) on delete restrict,
    is_completed boolean not null default false,
    started_at timestamptz not null default now(),
    last_activity_at timestamptz not null default now(),
    completed_at timestamptz,
    message_count_main integer not null default 0,
    message_count_helper integer not null default 0,
    duration_seconds integer,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table public.messages (
    id uuid primary key default gen_random_uuid(),
    session_id uuid not null references public.sessions (id) on delete cascade,
    role text not null check (role in ('user', 'scenario', 'helper')),
    chat_type text not null check (chat_type in ('main', 'helper')),
    content text not null,
    timestamp timestamptz not null default now(),
    created_at timestamptz not null default now()
);

create table public.logs (
    id uuid primary key default gen_random_uuid(),
    level text not null check (level in ('error', 'warn', 'info', 'debug')),
    event_type text not null check (event_type in (
        'api_call_started', 'api_call_completed', 'api_call_failed', 'api_call_timeout', 'api_retry_attempted',
        'user_registered', 'user_login_success', 'user_login_failed', 'user_logout', 'session_expired',
        'account_deleted', 'scenario_started', 'scenario_completed', 'scenario_abandoned', 'session_created',
        'session_restored', 'session_expiration_cleanup', 'rate_limit_checked', 'rate_limit_exceeded',
        'weekly_limit_reset', 'database_error', 'cleanup_job_executed', 'unknown_error'
    )),
    user_id uuid references public.profiles (id) on delete set null,
    session_id uuid references public.sessions (id) on delete set null,
    metadata jsonb,
    created_at timestamptz not null default now()
);

create index idx_profiles_email on public.profiles (email);

create unique index idx_sessions_active_per_user on public.sessions (user_id) where (is_completed = false);
create index idx_sessions_history on public.sessions (user_id, completed_at desc) where (is_completed = true);
create index idx_sessions_user_lookup on public.sessions (user_id, is_completed);
create index idx_sessions_expiration_cleanup on public.sessions (last_activity_at) where (is_completed = false);

create index idx_messages_session_chronological on public.messages (session_id, timestamp);
create index idx_messages_chat_type on public.messages (session_id, chat_type, timestamp);

create index idx_logs_level on public.logs (level);
create index idx_logs_event_type on public.logs (event_type);
create index idx_logs_created_at on public.logs (created_at desc);
create index idx_logs_level_created on public.logs (level, created_at desc);
create index idx_logs_user on public.logs (user_id) where user_id is not null;

comment on index public.idx_profiles_email is 'Profiles by address.';
comment on index public.idx_sessions_active_per_user is 'One open session a learner.';
comment on index public.idx_sessions_history is 'A learner''s completed sessions, newest first.';
comment on index public.idx_sessions_user_lookup is 'A learner''s sessions.';
comment on index public.idx_sessions_expiration_cleanup is 'Open sessions by their last activity, for the clean-up.';
comment on index public.idx_messages_session_chronological is 'A session''s messages in order.';
comment on index public.idx_messages_chat_type is 'One chat of a session in order.';
comment on index public.idx_logs_level is 'Logs by level.';
comment on index public.idx_logs_event_type is 'Logs by kind of event.';
comment on index public.idx_logs_created_at is 'Newest logs first.';
comment on index public.idx_logs_level_created is 'Newest logs of a level first.';
comment on index public.idx_logs_user is 'Logs of a learner.';

create function public.update_updated_at_column() returns trigger
language plpgsql
as $$
begin
    new.updated_at = now();
    return new;
end;
$$;

create trigger update_profiles_updated_at
before update on public.profiles
for each row execute function public.update_updated_at_column();

create trigger update_sessions_updated_at
before update on public.sessions
for each row execute function public.update_updated_at_column();

create function public.increment_message_count() returns trigger
language plpgsql
as $$
begin
    if new.chat_type = 'main' then
        update sessions
        set message_count_main = message_count_main + 1,
            last_activity_at = now()
        where id = new.session_id;
    elsif new.chat_type = 'helper' then
        update sessions
        set message_count_helper = message_count_helper + 1,
            last_activity_at = now()
        where id = new.session_id;
    end if;
    return new;
end;
$$;

create trigger increment_session_message_count
after insert on public.messages
for each row execute function public.increment_message_count();

create function public.calculate_session_duration() returns trigger
language plpgsql
as $$
begin
    if new.is_completed and not old.is_completed then
        new.duration_seconds = extract(epoch from new.completed_at - new.started_at)::integer;
    end if;
    return new;
end;
$$;

create trigger calculate_duration_on_completion
before update on public.sessions
for each row execute function public.calculate_session_duration();

create function public.create_profile_for_new_user() returns trigger
language plpgsql
security definer
as $$
begin
    insert into public.profiles (id, email, week_reset_date)
    values (new.id, new.email, now() + interval '7 days');
    return new;
end;
$$;

create trigger on_auth_user_created
after insert on auth.users
for each row execute function public.create_profile_for_new_user();

create function public.delete_expired_sessions() returns integer
language plpgsql
security definer
as $$
declare
    deleted_count integer;
begin
    delete from sessions
    where not is_completed
        and last_activity_at < now() - interval '7 days';
    get diagnostics deleted_count = row_count;

    insert into logs (level, event_type, metadata)
    values ('info', 'session_expiration_cleanup', jsonb_build_object('deleted_sessions', deleted_count));
    return deleted_count;
end;
$$;

create function public.delete_old_logs() returns integer
language plpgsql
security definer
as $$
declare
    deleted_count integer;
begin
    delete from logs
    where created_at < now() - interval '30 days';
    get diagnostics deleted_count = row_count;

    insert into logs (level, event_type, metadata)
    values ('info', 'cleanup_job_executed', jsonb_build_object('deleted_logs', deleted_count));
    return deleted_count;
end;
$$;

create function public.reset_weekly_limits() returns integer
language plpgsql
security definer
as $$
declare
    reset_count integer;
begin
    update profiles
    set current_week_completion_count = 0,
        week_reset_date = week_reset_date + interval '7 days',
        updated_at = now()
    where week_reset_date <= now();
    get diagnostics reset_count = row_count;

    insert into logs (level, event_type, metadata)
    values ('info', 'weekly_limit_reset', jsonb_build_object('reset_users', reset_count));
    return reset_count;
end;
$$;

alter table public.profiles enable row level security;
alter table public.scenarios enable row level security;
alter table public.sessions enable row level security;
alter table public.messages enable row level security;
alter table public.logs enable row level security;

create policy profiles_select_own_authenticated on public.profiles
    for select to authenticated using (auth.uid() = id);
create policy profiles_insert_own_authenticated on public.profiles
    for insert to authenticated with check (auth.uid() = id);
create policy profiles_update_own_authenticated on public.profiles
    for update to authenticated using (auth.uid() = id);
create policy profiles_delete_own_authenticated on public.profiles
    for delete to authenticated using (auth.uid() = id);

create policy scenarios_select_all_authenticated on public.scenarios
    for select to authenticated using (true);
create policy scenarios_select_all_anon on public.scenarios
    for select to anon using (true);

create policy sessions_select_own_authenticated on public.sessions
    for select to authenticated using (auth.uid() = user_id);
create policy sessions_insert_own_authenticated on public.sessions
    for insert to authenticated with check (auth.uid() = user_id);
create policy sessions_update_own_authenticated on public.sessions
    for update to authenticated using (auth.uid() = user_id);
create policy sessions_delete_own_authenticated on public.sessions
    for delete to authenticated using (auth.uid() = user_id);

create policy messages_select_own_authenticated on public.messages
    for select to authenticated using (exists (
        select 1 from public.sessions
        where sessions.id = messages.session_id
            and sessions.user_id = auth.uid()
    ));
create policy messages_insert_own_authenticated on public.messages
    for insert to authenticated with check (exists (
        select 1 from public.sessions
        where sessions.id = messages.session_id
            and sessions.user_id = auth.uid()
    ));

create policy logs_select_own_authenticated on public.logs
    for select to authenticated using (auth.uid() = user_id);

insert into public.scenarios (id, title, emoji, initial_message_main, initial_message_helper)
values
    (
        1, 'Marketplace Encounter', '🛒',
        'Guten Morgen! Frische Erdbeeren, heute besonders süß. Was darf es sein?',
        'You are at a weekly market. Ask me how to order, to haggle, or what a word means.'
    ),
    (
        2, 'High School Party', '🎉',
        'Hey, schön, dass du da bist! Kennst du hier schon jemanden?',
        'You have just arrived at a party. Ask me for small talk, or what is too formal here.'
    ),
    (
        3, 'Late Night Kebab', '🥙',
        'So, junger Mensch, mit allem und scharf?',
        'It is two in the morning and you are hungry. Ask me how to order, or what the sauces are.'
    );

commit;
