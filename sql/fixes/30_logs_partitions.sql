-- 30 · No logs table partitioning
-- Locks: logs, and the tables it refers to (profiles, sessions, event_types), ACCESS EXCLUSIVE, while all logs are copied into
-- partitions and indexed. Reads and writes of all four wait: the costliest fix where logs are many.
-- Repairs: nothing; every row is copied as it is.
-- Clients: an upsert of a log names both columns, on conflict (id, created_at); the id alone is refused (42P10).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.logs, public.profiles, public.sessions, public.event_types in access exclusive mode;

-- A table cannot become partitioned: a new one takes its name and its rows. What a team has added to the old one goes along:
-- columns with their checks, plain indexes, what roles of its own may do. Anything else stops the fix here, before it begins.
select private.drop_policies('public.logs', 'select', 'authenticated', 'auth.uid() = user_id');
drop policy logs_insert_none on public.logs;
do $$
declare
    own text;
begin
    select string_agg(found.what, ', ' order by found.what)
    into own
    from (
        select format('trigger %I', tgname) as what
        from pg_trigger
        where tgrelid = 'public.logs'::regclass
            and not tgisinternal
        union all
        select format('policy %I', polname)
        from pg_policy
        where polrelid = 'public.logs'::regclass
        union all
        select format('constraint %I of %s', conname, conrelid::regclass)
        from pg_constraint
        where (
                conrelid = 'public.logs'::regclass
                and (
                    contype in ('u', 'x', 't')
                    or contype = 'f' and pg_get_constraintdef(oid) !~ '^FOREIGN KEY \((user_id|session_id|event_type)\)'
                )
            )
            or confrelid = 'public.logs'::regclass
        union all
        select format('index %I', relname)
        from pg_index
        join pg_class on pg_class.oid = indexrelid
        where indrelid = 'public.logs'::regclass
            and indisunique
            and not indisprimary
            and not exists (select from pg_constraint where conindid = indexrelid)
        union all
        select format('publication %I', pubname)
        from pg_publication_rel
        join pg_publication on pg_publication.oid = prpubid
        where prrelid = 'public.logs'::regclass
        union all
        select case when relreplident <> 'd' then 'replica identity' else format('storage parameters %s', reloptions) end
        from pg_class
        where oid = 'public.logs'::regclass
            and (relreplident <> 'd' or reloptions is not null)
        union all
        select format('cluster order by %s', indexrelid::regclass)
        from pg_index
        where indrelid = 'public.logs'::regclass
            and indisclustered
        union all
        select pg_describe_object(classid, objid, objsubid)
        from pg_depend
        where refclassid = 'pg_class'::regclass
            and refobjid = 'public.logs'::regclass
            and classid = 'pg_proc'::regclass
        union all
        select format('statistics %I', stxname)
        from pg_statistic_ext
        where stxrelid = 'public.logs'::regclass
        union all
        select format('inheritance of %s', case inhparent when 'public.logs'::regclass then inhrelid else inhparent end::regclass)
        from pg_inherits
        where 'public.logs'::regclass in (inhparent, inhrelid)
        union all
        select distinct
            case
                when rule.ev_class = 'public.logs'::regclass then format('rule %I', rule.rulename)
                else format('view %s', rule.ev_class::regclass)
            end
        from pg_depend
        join pg_rewrite as rule on rule.oid = pg_depend.objid and pg_depend.classid = 'pg_rewrite'::regclass
        where refclassid = 'pg_class'::regclass
            and refobjid = 'public.logs'::regclass
        union all
        select pg_describe_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid)
        from pg_depend
        join pg_type on refclassid = 'pg_type'::regclass and refobjid in (pg_type.oid, pg_type.typarray)
        where pg_type.typrelid = 'public.logs'::regclass
            and pg_depend.deptype = 'n'
    ) as found;
    if own is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('what you have added to logs cannot go along when it is made anew in partitions: %s', own),
            hint = coalesce(
                (
                    select 'Run this first: ' || string_agg(format('drop policy %I on public.logs;', polname), ' ' order by polname)
                    from pg_policy
                    where polrelid = 'public.logs'::regclass
                ),
                'Drop it, apply the fix again, and make it anew.'
            );
    end if;
end;
$$;

select private.name_constraint(
    'public.logs', 'CHECK ((level = ANY (ARRAY[''error''::text, ''warn''::text, ''info''::text, ''debug''::text])))', 'logs_level_check'
);

-- Of two indexes with one text, the one that has v1's name, or comes first, is v1's.
create temporary table own_index on commit drop as
select
    pg_get_indexdef(indexrelid) as definition,
    format('public.%I', relname) as name,
    obj_description(indexrelid, 'pg_class') as description
from (
    select
        pg_index.indexrelid,
        pg_class.relname,
        row_number() over (
            partition by known.name is null, pg_index.indisprimary, known.name
            order by pg_class.relname <> known.name, pg_class.relname
        ) as place,
        known.name is not null or pg_index.indisprimary as is_known
    from pg_index
    join pg_class on pg_class.oid = pg_index.indexrelid
    left join (values
        ('btree (level)', 'idx_logs_level'),
        ('btree (event_type)', 'idx_logs_event_type'),
        ('btree (created_at DESC)', 'idx_logs_created_at'),
        ('btree (level, created_at DESC)', 'idx_logs_level_created'),
        ('btree (user_id) WHERE (user_id IS NOT NULL)', 'idx_logs_user'),
        ('btree (session_id, created_at DESC) WHERE (session_id IS NOT NULL)', 'logs_session_id_created_at_idx'),
        ('gin (metadata jsonb_path_ops)', 'logs_metadata_idx')
    ) as known (definition, name) on pg_get_indexdef(pg_index.indexrelid) like '% USING ' || known.definition
    where pg_index.indrelid = 'public.logs'::regclass
) as found
where not found.is_known or found.place > 1;

alter table public.logs set schema private;

-- The primary key has to contain what the table is partitioned by.
create table public.logs (
    like private.logs including all excluding indexes excluding statistics,
    constraint logs_pkey primary key (id, created_at),
    constraint logs_event_type_fkey foreign key (event_type) references public.event_types (code),
    constraint logs_user_id_fkey foreign key (user_id) references public.profiles (id) on delete set null,
    constraint logs_session_id_fkey foreign key (session_id) references public.sessions (id) on delete set null
)
partition by range (created_at);

-- A sequence behind a column of the team's own belongs to the new one, and so do the privileges of its roles.
do $$
declare
    held record;
begin
    for held in
        select pg_depend.objid::regclass as sequence, pg_class.relname, attname
        from pg_depend
        join pg_class on pg_class.oid = objid and relkind = 'S'
        join pg_attribute on attrelid = refobjid and attnum = refobjsubid
        where refobjid = 'private.logs'::regclass
            and deptype = 'a'
    loop
        execute format('alter sequence %s owned by none', held.sequence);
        execute format('alter sequence %s set schema public', held.sequence);
        execute format('alter sequence public.%I owned by public.logs.%I', held.relname, held.attname);
    end loop;
    for held in
        select attname, attstattarget
        from pg_attribute
        where attrelid = 'private.logs'::regclass
            and attnum > 0
            and not attisdropped
            and attstattarget >= 0
    loop
        execute format('alter table public.logs alter column %I set statistics %s', held.attname, held.attstattarget);
    end loop;
    perform private.grant_again('table', 'public.logs', relacl) from pg_class where oid = 'private.logs'::regclass;
    perform private.grant_again('table', 'public.logs', attacl, format('(%I)', attname))
    from pg_attribute
    where attrelid = 'private.logs'::regclass
        and attacl is not null;
end;
$$;

comment on table public.logs is
'What happened, for support and for alarms, a partition a month (issue 30). Written by the service role and by jobs only; '
'a learner reads their own (issue 24).';
comment on column public.logs.id is 'The event. The key adds created_at, as partitions ask for, so nothing but chance keeps an id unique.';
comment on column public.logs.level is 'error, warn, info or debug; an error is what an alarm looks for.';
comment on column public.logs.event_type is 'What kind of event, one of event_types.';
comment on column public.logs.user_id is 'The learner whom it concerns, if any.';
comment on column public.logs.session_id is 'The session that it concerns, if any.';
comment on column public.logs.metadata is 'Whatever else is known of the event.';
comment on column public.logs.created_at is 'When it happened; decides the partition.';
comment on constraint logs_event_type_fkey on public.logs is
'A log is of a known kind (issue 29).';

-- Restated from 24, from v1 (with auth.uid() asked once) and from v1's grants.
alter table public.logs enable row level security;
create policy logs_insert_none on public.logs
    as restrictive for insert to anon, authenticated with check (false);
comment on policy logs_insert_none on public.logs is
'No client writes logs. The service role does: it has BYPASSRLS, so no policy is asked (issue 24).';
create policy logs_select_own on public.logs
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy logs_select_own on public.logs is
'A learner reads what concerns them.';
revoke insert, update, delete on public.logs from anon, authenticated;

-- Partitions lie in private: one in public could be read there, past the policies of logs.
create table private.logs_default (like public.logs including all excluding indexes excluding identity);
alter table public.logs attach partition private.logs_default default;  -- noqa: PRS
revoke all on private.logs_default from public, anon, authenticated, service_role;
comment on table private.logs_default is
'Logs that no month''s partition is for, such as those of a clock that runs ahead, or of months in which no job ran. They grow old '
'and go there: a month that has rows here gets no partition any more.';

-- By their bounds, whoever made them and whatever they are called.
create function private.log_partitions(out partition regclass, out from_at timestamptz, out to_at timestamptz) returns setof record
language plpgsql
stable
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
begin
    return query
    select
        pg_class.oid::pg_catalog.regclass,
        case bound[1] when 'MINVALUE' then '-infinity' else trim(both '''' from bound[1]) end::pg_catalog.timestamptz,
        case bound[2] when 'MAXVALUE' then 'infinity' else trim(both '''' from bound[2]) end::pg_catalog.timestamptz
    from pg_catalog.pg_inherits
    join pg_catalog.pg_class on pg_class.oid = inhrelid
    cross join lateral regexp_match(pg_get_expr(relpartbound, pg_class.oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') as bound
    where inhparent = 'public.logs'::pg_catalog.regclass
        and bound is not null
    order by 2;
end;
$$;
comment on function private.log_partitions() is
'The partitions of logs but the default one, each from its first instant to the first of the next (issue 30).';
revoke all on function private.log_partitions() from public, anon, authenticated, service_role;

create function private.create_log_partition(month timestamptz, however_long boolean default false) returns boolean
language plpgsql
set search_path = ''
-- So that nobody waits long behind this function, while it waits for somebody else.
set lock_timeout = '20ms'
as $$
#variable_conflict use_variable
declare
    -- From the first instant of the month to the first of the next, which no longer belongs to it. In UTC, whatever
    -- the session's TimeZone is.
    begins constant pg_catalog.timestamptz := date_trunc('month', month, 'UTC');
    ends constant pg_catalog.timestamptz := (begins at time zone 'UTC' + interval '1 month') at time zone 'UTC';
    name constant pg_catalog.text := to_char(begins at time zone 'UTC', '"logs_y"YYYY"m"MM');
begin
    if exists (select from private.log_partitions() as made where made.from_at < ends and made.to_at > begins) then
        return true;
    elsif to_regclass(format('private.%I', name)) is not null
        or not pg_try_advisory_xact_lock(hashtextextended('log partitions', 0))
        -- To attach a partition, PostgreSQL reads the default one through, and nobody writes a log meanwhile. Its rows of the
        -- month would have to move as well.
        or (not however_long and pg_relation_size('private.logs_default') > 64 * 1024 * 1024)
        or exists (select from private.logs_default where created_at >= begins and created_at < ends)
    then
        return false;
    end if;

    for attempt in 1..5 loop
        begin
            -- ATTACH locks the tables that logs refers to: all at once, and in the order in which the app goes from one to
            -- the next. One that cannot be had lets go of the others.
            lock table public.profiles, public.sessions, public.event_types in share row exclusive mode;
            lock table only public.logs in share update exclusive mode;
            lock table private.logs_default in access exclusive mode;
            execute format('create table private.%I (like public.logs including all excluding indexes excluding identity)', name);
            execute format(
                'alter table public.logs attach partition private.%I for values from (%L) to (%L)', name, begins, ends
            );
            execute format('revoke all on private.%I from public, anon, authenticated, service_role', name);
            execute format(
                'comment on table private.%I is %L', name, format('Logs of %s UTC.', to_char(begins at time zone 'UTC', 'YYYY-MM'))
            );
            return true;
        exception
            when lock_not_available or deadlock_detected then
                perform pg_sleep(0.03);
        end;
    end loop;
    return false;
end;
$$;
comment on function private.create_log_partition(timestamptz, boolean) is
'Makes the partition of the month that a moment lies in, if need be, and says whether there is one. None is made for a month that '
'has rows in the default partition, nor where somebody holds what it needs, nor where the default partition is so large that '
'attaching one would take long, unless it is told that it may (issue 30).';
revoke all on function private.create_log_partition(timestamptz, boolean) from public, anon, authenticated, service_role;

create function private.ensure_log_partitions() returns text
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $$
#variable_conflict use_variable
declare
    month pg_catalog.timestamptz;
    without pg_catalog.text;
    began constant pg_catalog.timestamptz := clock_timestamp();
begin
    for month in
        select ahead.month
        from generate_series(
            date_trunc('month', now()), date_trunc('month', now()) + interval '3 months', interval '1 month'
        ) as ahead (month)
        where not exists (
            select
            from private.log_partitions() as made
            where made.from_at < ahead.month + interval '1 month'
                and made.to_at > ahead.month
        )
    loop
        -- What is made is held until the caller commits.
        if clock_timestamp() > began + interval '50 milliseconds' or not private.create_log_partition(month) then
            without := concat_ws(', ', without, to_char(month, 'YYYY-MM'));
        end if;
    end loop;
    return without;
end;
$$;
comment on function private.ensure_log_partitions() is
'Makes the partitions of this month and the next three, and returns the months that have none; their logs go to the default one '
'(issue 30).';
revoke all on function private.ensure_log_partitions() from public, anon, authenticated, service_role;

-- Whatever is locked already: all of them, however long it takes.
select private.create_log_partition(month)
from (
    select distinct date_trunc('month', created_at, 'UTC') as month
    from private.logs
    where created_at >= timestamptz '2000-01-01 00:00+00'
        and created_at < (date_trunc('month', now() at time zone 'UTC') + interval '4 months') at time zone 'UTC'
    union
    select (date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead)) at time zone 'UTC'
    from generate_series(0, 3) as ahead
) as needed
order by month;

do $$
declare
    columns constant text := (
        select string_agg(quote_ident(attname), ', ' order by attnum)
        from pg_attribute
        where attrelid = 'private.logs'::regclass
            and attnum > 0
            and not attisdropped
            and attgenerated = ''
    );
begin
    execute format('insert into public.logs (%1$s) overriding system value select %1$s from private.logs', columns);
    -- A number that the old table gave is not given again.
    perform setval(pg_get_serial_sequence('public.logs', attname), last_number.value)
    from pg_attribute
    cross join lateral (
        select last_value as value
        from pg_sequences
        where format('%I.%I', schemaname, sequencename) = pg_get_serial_sequence('private.logs', attname)
    ) as last_number
    where attrelid = 'private.logs'::regclass
        and attidentity <> ''
        and last_number.value is not null;
    if (select count(*) from private.logs) <> (select count(*) from public.logs) then
        raise exception 'not every log was copied';
    end if;
end;
$$;
drop table private.logs;

-- Built after the rows are in, which is faster than keeping them up to date meanwhile.
create index idx_logs_level on public.logs (level);
create index idx_logs_event_type on public.logs (event_type);
create index idx_logs_created_at on public.logs (created_at desc);
create index idx_logs_level_created on public.logs (level, created_at desc);
create index idx_logs_user on public.logs (user_id) where user_id is not null;
create index logs_session_id_created_at_idx on public.logs (session_id, created_at desc) where session_id is not null;
comment on index public.logs_session_id_created_at_idx is
'The logs of one session, newest first; also what a deleted session''s foreign key looks up (issue 19).';
create index logs_metadata_idx on public.logs using gin (metadata jsonb_path_ops);
comment on index public.logs_metadata_idx is
'Logs by what their metadata contain, such as an error code: metadata @> ''{"code": "E42"}'' (issue 23).';

do $$
declare
    own record;
begin
    for own in select definition, name, description from own_index order by name loop
        execute own.definition;
        if own.description is not null then
            execute format('comment on index %s is %L', own.name, own.description);
        end if;
    end loop;
end;
$$;
drop table own_index;

-- A team's tables may refer to logs, and to messages, in ways that only the catalog knows.
create function private.not_referred_to(target regclass, alias text, on_delete text) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select coalesce(string_agg(
            format('not exists (select from %s as referring where %s)', conrelid::pg_catalog.regclass, condition), ' and '
            order by conrelid::pg_catalog.regclass::pg_catalog.text, condition
        ), 'true')
        from pg_catalog.pg_constraint
        cross join lateral (
            select string_agg(
                -- By the key's own operator: that of citext is not found by its sign alone.
                format('%I.%I operator(%I.%s) referring.%I', alias, ours.attname, nspname, oprname, theirs.attname),
                ' and ' order by key.place
            ) as condition
            from unnest(conkey, confkey, conpfeqop) with ordinality as key (their_column, our_column, equality, place)
            join pg_catalog.pg_operator on pg_operator.oid = equality
            join pg_catalog.pg_namespace on pg_namespace.oid = oprnamespace
            join pg_catalog.pg_attribute as theirs on theirs.attrelid = conrelid and theirs.attnum = their_column
            join pg_catalog.pg_attribute as ours on ours.attrelid = confrelid and ours.attnum = our_column
        ) as matching
        where contype = 'f'
            and confrelid = target
            and conparentid = 0
            and confdeltype::pg_catalog.text = any (string_to_array(on_delete, null))
    );
end;
$$;
comment on function private.not_referred_to(regclass, text, text) is
'A condition in SQL: no row refers to this one by a foreign key whose ON DELETE is one of these letters of the catalog (issues 30 and '
'33).';
revoke all on function private.not_referred_to(regclass, text, text) from public, anon, authenticated, service_role;

create function private.drop_old_logs(
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
set lock_timeout = '5s'
set timezone = 'UTC'
as $$
#variable_conflict use_variable
declare
    old pg_catalog.record;
    emptied bigint;
    oldest pg_catalog.timestamptz;
    whole pg_catalog.regclass[] := '{}';
    locked_at pg_catalog.timestamptz;
    month pg_catalog.regclass;
    without pg_catalog.text;
    is_dropping pg_catalog.bool := false;
    -- A log that a table of the team's own refers to stays.
    unused constant pg_catalog.text := private.not_referred_to('public.logs', 'logs', 'ar');
begin
    affected := 0;
    remaining := 0;
    window_end := now() - interval '30 days';
    if not pg_try_advisory_xact_lock(hashtextextended('log partitions', 0)) then
        remaining := 1;
        undone := 'another run is under way';
        return;
    end if;

    -- First what locks nothing but rows: the days of the month in which the 30th day back lies, the default partition, and the old
    -- months that lie in somebody else's partitions. An old month of ours is only counted, and dropped as a whole below.
    for old in
        select
            made.partition,
            made.from_at,
            least(made.to_at, window_end) as to_at,
            made.to_at <= window_end as is_over,
            pg_has_role(current_user, pg_class.relowner, 'usage') as is_ours
        from private.log_partitions() as made
        join pg_catalog.pg_class on pg_class.oid = made.partition
        where made.from_at < window_end
    loop
        if old.is_over and old.is_ours then
            execute format('select count(*), min(created_at) from %s', old.partition) into emptied, oldest;
            whole := whole || old.partition;
        else
            execute format(
                'with deleted as (delete from public.logs where created_at >= %L and created_at < %L and %s returning created_at) '
                'select count(*), min(created_at) from deleted',
                old.from_at, old.to_at, unused
            ) into emptied, oldest;
            if old.is_over then
                remaining := remaining + 1;
                undone := concat_ws('; ', undone, format('%s is empty, and stays because it belongs to somebody else', old.partition));
            end if;
        end if;
        affected := affected + emptied;
        window_start := least(window_start, oldest);
    end loop;
    execute format(
        'with deleted as (delete from private.logs_default as logs where created_at < %L and %s returning created_at) '
        'select count(*), min(created_at) from deleted',
        window_end, unused
    ) into emptied, oldest;
    affected := affected + emptied;
    window_start := least(window_start, oldest);

    -- Dropping a partition locks logs and the tables that it refers to until the job commits, so it comes last and ends within
    -- 200 ms. Where somebody holds one of them for longer than a moment, the job does not queue up in front of everybody else.
    perform set_config('lock_timeout', '20ms', true);
    for attempt in 1..5 loop
        exit when whole = '{}' or is_dropping;
        begin
            locked_at := clock_timestamp();
            lock table public.profiles, public.sessions, public.event_types in access exclusive mode;
            lock table only public.logs in access exclusive mode;
            lock table private.logs_default in access exclusive mode;
            is_dropping := true;
        exception
            when lock_not_available or deadlock_detected then
                perform pg_sleep(0.05);
        end;
    end loop;
    foreach month in array whole loop
        begin
            if not is_dropping or clock_timestamp() > locked_at + interval '100 milliseconds' then
                raise lock_not_available;
            end if;
            execute format('lock table %s in access exclusive mode', month);
            execute format('alter table public.logs detach partition %s', month);
            execute format('drop table %s', month);
        exception
            when lock_not_available or deadlock_detected or dependent_objects_still_exist or foreign_key_violation then
                execute format('select count(*) from %s', month) into emptied;
                affected := affected - emptied;
                remaining := remaining + 1;
                undone := concat_ws('; ', undone, format('%s is kept for the next run', month));
        end;
    end loop;

    -- So does making one.
    if is_dropping and clock_timestamp() > locked_at + interval '50 milliseconds' then
        return;
    end if;
    without := private.ensure_log_partitions();
    if without is not null then
        remaining := remaining + cardinality(string_to_array(without, ', '));
        undone := concat_ws('; ', undone, format('no partition was made for %s', without));
    end if;
end;
$$;
comment on function private.drop_old_logs() is
'Drops the partitions that are over 30 days old, deletes what else is, makes the coming months, and returns how many rows went, the '
'oldest, and what was left undone. It waits for no lock longer than 20 ms and holds none longer than 200 ms (issue 30).';
revoke all on function private.drop_old_logs() from public, anon, authenticated, service_role;

-- Restated from 26.
create or replace function public.delete_old_logs() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    deleted_count integer;
begin
    select affected
    into deleted_count
    from private.drop_old_logs();

    insert into public.logs (level, event_type, metadata)
    values ('info', 'cleanup_job_executed', jsonb_build_object('deleted_logs', deleted_count));
    return deleted_count;
end;
$$;
comment on function public.delete_old_logs() is
'Removes logs over 30 days old, by whole months where it can (issue 30).';

commit;
