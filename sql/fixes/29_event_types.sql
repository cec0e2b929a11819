-- 29 · Hardcoded event type enum
-- Locks: logs, ACCESS EXCLUSIVE, while its rows are checked against the new table once. Reads and writes wait.
-- Repairs: nothing: v1's check allows the same values.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.logs in access exclusive mode;

create table public.event_types (
    code text not null,
    description text not null,
    created_at timestamptz not null default now(),
    constraint event_types_pkey primary key (code),
    constraint event_types_code_is_snake_case check (code ~ '^[a-z]+(_[a-z]+)*$')
);
comment on table public.event_types is
'The kinds of events that logs may hold. A new kind is a row here, and no migration (issue 29).';
comment on column public.event_types.code is 'What logs.event_type says.';
comment on column public.event_types.description is 'What it means, for whoever reads the logs.';
comment on column public.event_types.created_at is 'When the kind was added.';

alter table public.event_types enable row level security;
revoke all on public.event_types from anon, authenticated;

insert into public.event_types (code, description)
values
    ('api_call_started', 'A call of the language model began.'),
    ('api_call_completed', 'A call of the language model was answered.'),
    ('api_call_failed', 'A call of the language model failed.'),
    ('api_call_timeout', 'A call of the language model took too long.'),
    ('api_retry_attempted', 'A call of the language model was tried again.'),
    ('user_registered', 'A learner signed up.'),
    ('user_login_success', 'A learner signed in.'),
    ('user_login_failed', 'A sign-in was refused.'),
    ('user_logout', 'A learner signed out.'),
    ('session_expired', 'A session was left open too long.'),
    ('account_deleted', 'A learner deleted their account.'),
    ('scenario_started', 'A learner started a scenario.'),
    ('scenario_completed', 'A learner completed a scenario.'),
    ('scenario_abandoned', 'A learner gave a scenario up.'),
    ('session_created', 'A session was created.'),
    ('session_restored', 'A learner came back to an open session.'),
    ('session_expiration_cleanup', 'The job that deletes expired sessions ran.'),
    ('rate_limit_checked', 'The app checked a limit.'),
    ('rate_limit_exceeded', 'A learner met a limit.'),
    ('weekly_limit_reset', 'The job that starts new weeks ran.'),
    ('database_error', 'The database refused a statement.'),
    ('cleanup_job_executed', 'The job that deletes old logs ran.'),
    ('unknown_error', 'Something failed that nobody expected.');

-- v1's check may have been extended meanwhile: what it allows, and what logs hold, are kinds too.
do $$
declare
    listing record;
begin
    for listing in
        select
            conname,
            array(select kind[1] from regexp_matches(pg_get_constraintdef(oid), '''([^'']+)''::text', 'g') as kind) as kinds
        from pg_constraint
        where conrelid = 'public.logs'::regclass
            and contype = 'c'
            and pg_get_constraintdef(oid) ~ '^CHECK \(\(event_type = ANY \(ARRAY\[[^()]+\]\)\)\)$'
    loop
        insert into public.event_types (code, description)
        select kind, 'Added before there was a place to say what it means.'
        from unnest(listing.kinds) as kind
        on conflict do nothing;
        execute format('alter table public.logs drop constraint %I', listing.conname);
    end loop;
end;
$$;

-- idx_logs_event_type finds the logs of a kind when somebody deletes it.
alter table public.logs
    add constraint logs_event_type_fkey foreign key (event_type) references public.event_types (code);
comment on constraint logs_event_type_fkey on public.logs is
'A log is of a known kind (issue 29).';

commit;
