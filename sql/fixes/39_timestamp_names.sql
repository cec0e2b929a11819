-- 39 · Inconsistent timestamp naming across tables
-- Locks: profiles, scenarios and sessions, SHARE UPDATE EXCLUSIVE, for their comments. No read and no write waits.
-- Repairs: nothing; issues 5 and 7 have removed the names that were wrong.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create view private.timestamp_rules_broken as
select
    relation.oid::regclass::text as table_name,
    attribute.attname as column_name,
    case
        when attribute.atttypid <> 'timestamptz'::regtype then 'has no time zone'
        when attribute.attname !~ '_at$' then 'does not end in _at'
        else 'does not say what it means'
    end as broken_rule
from pg_catalog.pg_attribute as attribute
join pg_catalog.pg_class as relation on relation.oid = attribute.attrelid
where relation.relnamespace = 'public'::regnamespace
    and relation.relkind in ('r', 'p')
    and attribute.attnum > 0
    and attribute.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
    -- The one exception: clients know it by this name.
    and (relation.relname, attribute.attname) <> ('profiles', 'week_reset_date')
    and (
        attribute.atttypid <> 'timestamptz'::regtype
        or attribute.attname !~ '_at$'
        or col_description(attribute.attrelid, attribute.attnum) is null
    );
revoke all on private.timestamp_rules_broken from public, anon, authenticated, service_role;
comment on view private.timestamp_rules_broken is
'Each column that breaks a rule of issue 39; empty when all is well. The rules: a moment is a timestamptz. Its name ends '
'in _at: created_at for the row, updated_at for its last change, and what happened otherwise (started_at, sent_at). '
'Its comment says what happened. profiles.week_reset_date is the one exception.';

comment on column public.profiles.created_at is 'When the learner signed up.';
comment on column public.profiles.updated_at is 'When the profile was last changed.';
comment on column public.profiles.week_reset_date is
'When the learner''s week ends, a Monday 00:00 UTC (issue 2). A moment, in spite of its name (issue 39).';
comment on column public.scenarios.created_at is 'When the scenario was added.';
comment on column public.sessions.last_activity_at is
'When something last happened in the session. Sessions idle for a week expire by it; no index has it, so a message touches none '
'(issue 22).';
comment on column public.sessions.completed_at is 'When the session was completed, by the server''s clock (issue 1).';
comment on column public.sessions.updated_at is 'When the session was last changed.';

comment on column private.timestamp_rules_broken.table_name is
'The table that breaks a rule.';
comment on column private.timestamp_rules_broken.column_name is
'Its column.';
comment on column private.timestamp_rules_broken.broken_rule is
'The rule, in words.';
comment on trigger update_profiles_updated_at on public.profiles is
'Dates each change of a profile (issue 39).';
comment on trigger update_sessions_updated_at on public.sessions is
'Dates each change of a session (issue 39).';

commit;
