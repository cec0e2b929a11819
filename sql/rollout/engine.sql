-- The rollout's own objects: what it notes, how far it is, and how it carries rows from v1 to v2.
-- Runs as the schema's owner, before the ghosts are filled. Locks nothing that a client uses.

create schema rollout;
comment on schema rollout is
'What takes v1 to v2 beside its clients: notes of what changed, progress, and the functions that carry rows. It goes with finish.';
revoke all on schema rollout from public;

create schema rollout_old;
comment on schema rollout_old is 'Where v1''s tables lie from the switch on, until the way back is given up.';
revoke all on schema rollout_old from public;

-- --- How far it is --------------------------------------------------------------------------------------------------

create table rollout.state (
    only_row boolean not null default true,
    phase text not null,
    started_at timestamptz not null default now(),
    switched_at timestamptz,
    week_reset_date timestamptz not null,
    catalog text not null,
    before jsonb not null default '{}',
    constraint state_pkey primary key (only_row),
    constraint state_has_one_row check (only_row),
    constraint state_phase_known check (phase in ('starting', 'started', 'linked', 'switched', 'returned'))
);
comment on table rollout.state is 'Which step came last, and what was there before the first one.';
comment on column rollout.state.phase is
'starting: ghosts are being made. started: they are filled. linked: filled, with foreign keys. switched: clients use them. '
'returned: clients have v1 again, and what is left of the rollout goes.';
comment on column rollout.state.week_reset_date is 'The Monday that the profiles were carried for; after it they are carried again.';
comment on column rollout.state.catalog is 'What v1''s catalog looked like at the start; the switch refuses another one.';
comment on column rollout.state.before is 'What an abort or a way back puts back: extensions, schemas, a function''s text, default privileges.';

create table rollout.repair_statements (
    place integer not null,
    issue smallint not null,
    table_name text not null,
    setup text[] not null,
    batch text[] not null,
    hidden text[] not null,
    stored jsonb not null,
    constraint repair_statements_pkey primary key (place)
);
comment on table rollout.repair_statements is
'What the fix files do to rows, statement by statement; each batch of rows goes through those of its table.';
comment on column rollout.repair_statements.setup is 'What makes the temporary tables fit for it, once a connection.';
comment on column rollout.repair_statements.batch is 'What is run on each batch.';
comment on column rollout.repair_statements.stored is 'What a column becomes as the batch is written, by column.';
comment on column rollout.repair_statements.hidden is 'Columns that a before-image of this fix does not have.';

create table rollout.progress (
    table_name text not null,
    place integer not null,
    filenode oid not null,
    next_page bigint not null default 0,
    rows_copied bigint not null default 0,
    is_copied boolean not null default false,
    constraint progress_pkey primary key (table_name)
);
comment on table rollout.progress is 'Up to which page each of v1''s tables is copied, written in the transaction that copied it.';
comment on column rollout.progress.filenode is 'The file that the pages are of; after VACUUM FULL it is another one, and the table is copied anew.';

-- Append only: a unique key would make clients wait for each other. Logged: notes that a crash took would be rows that differ.
create table rollout.dirty (
    id bigint generated always as identity,
    table_name text not null,
    key text,
    constraint dirty_pkey primary key (id)
);
comment on table rollout.dirty is 'Keys of rows that a client has written since they were carried. A key that is null stands for TRUNCATE.';

create table rollout.addresses (
    user_id uuid not null,
    address text,
    constraint addresses_pkey primary key (user_id)
);
comment on table rollout.addresses is
'The address, in small letters, that each profile was carried with: who shares one is carried together, because one of them keeps it.';
create index addresses_address_idx on rollout.addresses (address);

-- --- Notes ----------------------------------------------------------------------------------------------------------

create function rollout.note() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Nothing of v2 runs in a client's transaction: only the key is written down.
    if tg_op = 'TRUNCATE' then
        insert into rollout.dirty (table_name, key) values (tg_argv[0], null);
    elsif tg_argv[0] = 'event_types' then
        if tg_op <> 'INSERT' then
            insert into rollout.dirty (table_name, key) values (tg_argv[0], old.code);
        end if;
        if tg_op <> 'DELETE' and (tg_op = 'INSERT' or new.code <> old.code) then
            insert into rollout.dirty (table_name, key) values (tg_argv[0], new.code);
        end if;
    elsif tg_argv[0] = 'message_chunks' then
        insert into rollout.dirty (table_name, key)
        values (tg_argv[0], case when tg_op = 'DELETE' then old.message_id else new.message_id end);
    else
        if tg_op <> 'INSERT' then
            insert into rollout.dirty (table_name, key) values (tg_argv[0], old.id);
        end if;
        if tg_op <> 'DELETE' and (tg_op = 'INSERT' or new.id <> old.id) then
            insert into rollout.dirty (table_name, key) values (tg_argv[0], new.id);
        end if;
    end if;
    return null;
end;
$$;
comment on function rollout.note() is 'Writes down the key of a row that was written, and both keys where it has changed.';
revoke all on function rollout.note() from public;

-- A function of its own: a trigger on auth.users goes with its function, though its table is somebody else's.
create function rollout.note_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into rollout.dirty (table_name, key)
    values ('profiles', case when tg_op = 'DELETE' then old.id else new.id end);
    return null;
end;
$$;
comment on function rollout.note_user() is 'Writes down the profile of a user whose address or deletion has changed.';
revoke all on function rollout.note_user() from public;

create function rollout.columns_of(on_table regclass, prefix text default '') returns text
language sql
stable
set search_path = ''
as $$
    select string_agg(prefix || quote_ident(attname), ', ' order by attnum)
    from pg_catalog.pg_attribute
    where attrelid = on_table
        and attnum > 0
        and not attisdropped
        and attgenerated = '';
$$;
comment on function rollout.columns_of(regclass, text) is 'The columns of a table that can be written, as a list in SQL.';
revoke all on function rollout.columns_of(regclass, text) from public;

-- --- Carrying rows from v1 to v2 ------------------------------------------------------------------------------------

-- The batch stands in temporary tables, so that the fixes' own statements run on it. They are made once a connection and emptied by
-- each commit: thousands of batches that made tables of their own would leave the catalog full of dead rows.
create function rollout.prepare() returns void
language plpgsql
set search_path = ''
as $$
declare
    our pg_catalog.text;
    made pg_catalog.record;
begin
    if to_regclass('pg_temp.noted') is not null then
        return;
    end if;
    create temporary table noted (table_name text not null, key text) on commit delete rows;
    create temporary table users (id uuid not null primary key, email text, deleted_at timestamptz) on commit delete rows;
    create temporary table repairs (like private.repairs including defaults including indexes) on commit delete rows;
    create temporary table addresses_to_forget (like private.addresses_to_forget including all) on commit delete rows;
    foreach our in array array['scenarios', 'sessions', 'profiles', 'messages', 'logs'] loop
        execute format(
            -- With room for the second version of each row on its page.
            'create temporary table %I (like public.%1$I including defaults including generated) with (fillfactor = 40) '
            'on commit delete rows',
            our
        );
        execute format('alter table pg_temp.%I add primary key (id)', our);
    end loop;
    foreach our in array array['sessions', 'profiles'] loop
        -- Where a team has disabled the trigger, a fix leaves the moment alone as well.
        continue when exists (
            select
            from pg_catalog.pg_trigger
            where tgrelid = format('public.%I', our)::pg_catalog.regclass
                and tgname = format('update_%s_updated_at', our)
                and tgenabled in ('D', 'R')
        );
        execute format(
            'create trigger updated_at before update on pg_temp.%I '
            'for each row execute function private.update_updated_at_column()',
            our
        );
    end loop;
    for made in
        select unnest(setup) as statement
        from rollout.repair_statements
        order by place
    loop
        execute made.statement;
    end loop;
end;
$$;
comment on function rollout.prepare() is 'Makes the temporary tables of a batch, with every column that a row ever has from v1 to v2.';
revoke all on function rollout.prepare() from public;

create function rollout.open_batch(of_table text, ids text[], rows_of text) returns void
language plpgsql
set search_path = ''
as $$
declare
    names constant pg_catalog.text := rollout.columns_of(format('public.%I', of_table)::pg_catalog.regclass);
begin
    perform set_config('rollout.completes', 'off', true);
    delete from pg_temp.repairs;
    execute format('delete from pg_temp.%I', of_table);
    execute format(
        'insert into pg_temp.%1$I (%2$s) select %2$s from public.%1$I as v1 where %3$s', of_table, names, coalesce(rows_of, 'v1.id = any ($1)')
    )
    using ids::pg_catalog.uuid[];
    if of_table = 'sessions' then
        delete from pg_temp.users;
        insert into pg_temp.users
        select users.id, users.email, users.deleted_at
        from auth.users
        where users.deleted_at is not null
            and users.id in (select sessions.user_id from pg_temp.sessions);
    end if;
end;
$$;
comment on function rollout.open_batch(text, text[], text) is
'Takes rows of one of v1''s tables, by their keys or by a condition on a row v1, into its temporary table.';
revoke all on function rollout.open_batch(text, text[], text) from public;

create function rollout.repair_batch(of_table text) returns void
language plpgsql
set search_path = ''
as $$
declare
    repair pg_catalog.record;
    statement pg_catalog.text;
begin
    for repair in
        select batch from rollout.repair_statements where repair_statements.table_name = of_table order by place
    loop
        foreach statement in array repair.batch loop
            execute statement;
        end loop;
    end loop;
end;
$$;
comment on function rollout.repair_batch(text) is 'Runs on the batch what the fixes do to rows of its table.';
revoke all on function rollout.repair_batch(text) from public;

-- The rows of the batch take the place of those with their keys.
create function rollout.store_batch(of_table text) returns void
language plpgsql
set search_path = ''
as $$
declare
    target constant pg_catalog.regclass := format('rollout_new.%I', of_table);
    names constant pg_catalog.text := rollout.columns_of(target);
    written pg_catalog.text;
    renewed pg_catalog.text;
begin
    select
        string_agg(
            -- An enum of v2 is text in the batch.
            case
                when typtype = 'e' then
                    format('(%s)::text::%s', coalesce(become.expression, format('batch.%I', attname)), format_type(atttypid, atttypmod))
                else coalesce(become.expression, format('batch.%I', attname))
            end,
            ', ' order by attnum
        ),
        string_agg(format('%1$I = excluded.%1$I', attname), ', ' order by attnum)
        -- Only a new row may bring a number that is always generated.
        filter (where attname <> 'id' and attidentity <> 'a')
    into written, renewed
    from pg_catalog.pg_attribute
    join pg_catalog.pg_type on pg_type.oid = atttypid
    left join (
        select key, value
        from rollout.repair_statements
        cross join lateral jsonb_each_text(stored)
        where repair_statements.table_name = of_table
    ) as become (of_column, expression) on become.of_column = attname
    where attrelid = target
        and attnum > 0
        and not attisdropped
        and attgenerated = '';
    execute format(
        'insert into rollout_new.%1$I (%2$s) overriding system value select %3$s from pg_temp.%1$I as batch '
        'on conflict (%4$s) do update set %5$s',
        of_table, names, written, case of_table when 'logs' then 'id, created_at' else 'id' end, renewed
    );
end;
$$;
comment on function rollout.store_batch(text) is 'Writes the batch into v2''s table.';
revoke all on function rollout.store_batch(text) from public;

create function rollout.close_batch(of_table text, ids text[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    delete from private.repairs
    where repairs.table_name = of_table
        and repairs.row_id = any (ids);
    insert into private.repairs (issue, table_name, row_id, before, repaired_at)
    select made.issue, made.table_name, made.row_id, made.before - shape.hidden, made.repaired_at
    from pg_temp.repairs as made
    cross join lateral (
        select hidden
        from rollout.repair_statements
        where repair_statements.issue = made.issue
            and repair_statements.table_name = of_table
        order by place
        limit 1
    ) as shape;
    if of_table = 'profiles' then
        delete from private.addresses_to_forget where addresses_to_forget.user_id = any (ids::pg_catalog.uuid[]);
        insert into private.addresses_to_forget
        select * from pg_temp.addresses_to_forget
        on conflict do nothing;
    end if;
end;
$$;
comment on function rollout.close_batch(text, text[]) is 'Keeps the batch''s before-images, with the columns that the row had then.';
revoke all on function rollout.close_batch(text, text[]) from public;

-- One batch of one table. Keys are arrays: the planner sees how many there are, and goes by the index.
create function rollout.carry(of_table text, ids text[], rows_of text default null) returns integer
language plpgsql
set search_path = ''
set random_page_cost = 1.1
as $$
#variable_conflict use_variable
declare
    users pg_catalog.uuid[];
begin
    case of_table
        when 'scenarios' then
            -- A few rows, whose titles, codes and places depend on each other: always all of them.
            ids := array(
                select scenarios.id::pg_catalog.text from public.scenarios
                union
                select scenarios.id::pg_catalog.text from rollout_new.scenarios
            );
            perform rollout.open_batch('scenarios', null, 'true');
        when 'profiles' then
            -- Whoever shares an address with one of these, before or after, may have to give it up or get it back.
            users := array(
                select unnest(ids::pg_catalog.uuid[])
                union
                select addresses.user_id
                from rollout.addresses
                where addresses.address = any (
                        array(
                            select shared.address
                            from rollout.addresses as shared
                            where shared.user_id = any (ids::pg_catalog.uuid[])
                            union all
                            select lower(coalesce(case when users.email ~ '\S' then users.email end, profiles.email))
                            from unnest(ids::pg_catalog.uuid[]) as wanted (id)
                            left join auth.users on users.id = wanted.id
                            left join public.profiles on profiles.id = wanted.id
                        )
                    )
            );
            ids := users::pg_catalog.text[];
            delete from pg_temp.users;
            delete from pg_temp.addresses_to_forget;
            insert into pg_temp.users
            select accounts.id, accounts.email, accounts.deleted_at
            from auth.users as accounts
            where accounts.id = any (users);
            perform rollout.open_batch('profiles', ids, null);
        when 'sessions' then
            -- One open session a learner: whoever opens one here has closed the other, which comes along.
            ids := array(
                select unnest(ids)
                union
                select other.id::pg_catalog.text
                from public.sessions
                join rollout_new.sessions as other on other.user_id = sessions.user_id and not other.is_completed
                where sessions.id = any (ids::pg_catalog.uuid[])
                    and not sessions.is_completed
            );
            perform rollout.open_batch('sessions', ids, null);
        else
            perform rollout.open_batch(of_table, ids, rows_of);
    end case;
    perform rollout.repair_batch(of_table);

    case of_table
        when 'scenarios' then
            -- Titles and codes may change places. What is gone is deleted once no session refers to it any more.
            update rollout_new.scenarios
            set title = format('~%s', scenarios.id),
                code = format('x%s', scenarios.id)
            where not exists (
                select
                from pg_temp.scenarios as batch
                where batch.id = scenarios.id
                    and (batch.title, batch.code) is not distinct from (scenarios.title, scenarios.code)
            );
        when 'profiles' then
            -- Who is gone is deleted once their sessions are somebody else's: they would go along, with their messages.
            update rollout_new.profiles
            set email = format('%s@duplicate.invalid', profiles.id)
            where profiles.id = any (users)
                and profiles.email is not null
                and not exists (
                    select
                    from pg_temp.profiles as batch
                    where batch.id = profiles.id
                        and batch.email is not distinct from profiles.email
                );
            -- A session is closed with its account.
            insert into rollout.dirty (table_name, key)
            select 'sessions', sessions.id::pg_catalog.text
            from pg_temp.users as accounts
            join rollout_new.sessions on sessions.user_id = accounts.id
            where accounts.id = any (users)
                and sessions.user_id = any (users)
                and (sessions.closed_at is null) <> (accounts.deleted_at is null);
            delete from rollout.addresses where addresses.user_id = any (users);
            insert into rollout.addresses (user_id, address)
            select batch.id, lower(coalesce(case when accounts.email ~ '\S' then accounts.email end, v1.email, batch.email::pg_catalog.text))
            from pg_temp.profiles as batch
            left join pg_temp.users as accounts on accounts.id = batch.id
            left join public.profiles as v1 on v1.id = batch.id
            where batch.deleted_at is null;
        when 'sessions' then
            perform rollout.follow_sessions(ids::pg_catalog.uuid[]);
            delete from rollout_new.sessions
            where sessions.id = any (ids::pg_catalog.uuid[])
                and not exists (select from pg_temp.sessions as batch where batch.id = sessions.id);
            -- One open session a learner, also while open ones change places.
            update rollout_new.sessions
            set is_completed = true,
                completed_at = sessions.started_at
            from pg_temp.sessions as batch
            where sessions.id = any (ids::pg_catalog.uuid[])
                and batch.id = sessions.id
                and not sessions.is_completed
                and (batch.is_completed or batch.user_id <> sessions.user_id);
        when 'messages' then
            if rows_of is null then
                delete from rollout_new.messages
                where messages.id = any (ids::pg_catalog.uuid[])
                    and not exists (select from pg_temp.messages as batch where batch.id = messages.id);
            end if;
        when 'logs' then
            if rows_of is null then
                delete from rollout_new.logs where logs.id = any (ids::pg_catalog.uuid[]);
            end if;
    end case;
    perform rollout.store_batch(of_table);
    perform rollout.close_batch(of_table, ids);
    return cardinality(ids);
end;
$$;
comment on function rollout.carry(text, text[], text) is
'Carries rows of one of v1''s tables by their keys into v2''s, repaired as the fixes repair them. Rows of messages and logs are looked '
'up by a condition instead where one is given.';
revoke all on function rollout.carry(text, text[], text) from public;

-- What a session's change means for others: its learner's counts, and, where it is another learner's now, its messages.
create function rollout.follow_sessions(ids uuid[]) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into rollout.dirty (table_name, key)
    select distinct 'profiles', counted.user_id::pg_catalog.text
    from (
        select unnest(array[batch.user_id, sessions.user_id]) as user_id
        from unnest(ids) as wanted (id)
        left join pg_temp.sessions as batch on batch.id = wanted.id
        left join rollout_new.sessions on sessions.id = wanted.id
        where (batch.user_id, batch.is_completed, batch.completed_at)
            is distinct from (sessions.user_id, sessions.is_completed, sessions.completed_at)
            and (batch.is_completed or sessions.is_completed)
    ) as counted
    where counted.user_id is not null
        and exists (select from rollout.progress where progress.table_name = 'profiles' and progress.next_page > 0);

    -- A message has the user of its session, so it goes first and comes again.
    with moved as (
        delete from rollout_new.messages
        using pg_temp.sessions as batch, rollout_new.sessions as other
        where batch.id = other.id
            and batch.user_id <> other.user_id
            and messages.session_id = batch.id
        returning messages.id
    )
    insert into rollout.dirty (table_name, key)
    select 'messages', moved.id::pg_catalog.text
    from moved;
end;
$$;
comment on function rollout.follow_sessions(uuid[]) is 'Notes the profiles and messages that depend on sessions which are about to change.';
revoke all on function rollout.follow_sessions(uuid[]) from public;

-- --- One turn of the runner -----------------------------------------------------------------------------------------

create function rollout.apply_notes(up_to integer) returns integer
language plpgsql
set search_path = ''
set random_page_cost = 1.1
as $$
declare
    of_table pg_catalog.text;
    ids pg_catalog.text[];
    how_many integer;
begin
    delete from pg_temp.noted;
    with taken as (
        delete from rollout.dirty
        where id in (select id from rollout.dirty order by id limit up_to)
        returning table_name, key
    )
    insert into pg_temp.noted
    select distinct table_name, key from taken;
    get diagnostics how_many = row_count;
    if how_many = 0 then
        return 0;
    end if;

    foreach of_table in array array['logs', 'messages', 'sessions', 'profiles', 'scenarios'] loop
        if exists (select from pg_temp.noted where noted.table_name = of_table and noted.key is null) then
            perform rollout.begin_again(of_table);
        end if;
    end loop;

    -- What is gone goes from the last table to the first, what is there comes from the first to the last.
    foreach of_table in array array['logs', 'messages', 'sessions'] loop
        ids := array(select key from pg_temp.noted where table_name = of_table and key is not null);
        continue when ids = '{}';
        if of_table = 'sessions' then
            -- A completed session that is gone was counted.
            insert into rollout.dirty (table_name, key)
            select distinct 'profiles', sessions.user_id::pg_catalog.text
            from rollout_new.sessions
            where sessions.is_completed
                and sessions.id = any (ids::pg_catalog.uuid[])
                and not exists (select from public.sessions as v1 where v1.id = sessions.id);
        end if;
        execute format(
            'delete from rollout_new.%1$I as v2 where v2.id = any ($1) and not exists (select from public.%1$I as v1 where v1.id = v2.id)',
            of_table
        )
        using ids::pg_catalog.uuid[];
    end loop;
    foreach of_table in array array['scenarios', 'profiles', 'sessions', 'messages', 'logs'] loop
        ids := array(select key from pg_temp.noted where table_name = of_table and key is not null);
        if of_table = 'sessions' and exists (select from pg_temp.noted where table_name = 'messages') then
            -- A count below zero is counted from the messages.
            ids := array(
                select unnest(ids)
                union
                select sessions.id::pg_catalog.text
                from public.messages
                join public.sessions on sessions.id = messages.session_id
                where messages.id = any (
                        array(select key::pg_catalog.uuid from pg_temp.noted where table_name = 'messages' and key is not null)
                    )
                    and least(sessions.message_count_main, sessions.message_count_helper) < 0
                union
                select repairs.row_id
                from private.repairs
                join public.sessions on sessions.id = repairs.row_id::pg_catalog.uuid
                where repairs.issue = 8
                    and repairs.table_name = 'sessions'
                    and least(sessions.message_count_main, sessions.message_count_helper) < 0
            );
        end if;
        if ids <> '{}' then
            perform rollout.carry(of_table, ids);
        end if;
    end loop;

    -- Their sessions have gone, or are somebody else's.
    ids := array(select key from pg_temp.noted where table_name = 'profiles' and key is not null);
    delete from rollout_new.profiles
    where profiles.id = any (ids::pg_catalog.uuid[])
        and not exists (select from pg_temp.profiles as batch where batch.id = profiles.id);
    delete from rollout_new.scenarios
    where exists (select from pg_temp.noted where table_name = 'scenarios')
        and not exists (select from public.scenarios as v1 where v1.id = scenarios.id);
    return how_many;
end;
$$;
comment on function rollout.apply_notes(integer) is
'Carries what the oldest notes name, read from v1 as it is now, and returns how many rows that were.';
revoke all on function rollout.apply_notes(integer) from public;

create function rollout.begin_again(of_table text) returns void
language plpgsql
set search_path = ''
as $$
begin
    if of_table = 'sessions' then
        -- Whose completed sessions these were counted them.
        insert into rollout.dirty (table_name, key)
        select distinct 'profiles', sessions.user_id::pg_catalog.text
        from rollout_new.sessions
        where sessions.is_completed;
    end if;
    execute format('delete from rollout_new.%I', of_table);
    delete from private.repairs where repairs.table_name = of_table;
    update rollout.progress
    set filenode = pg_relation_filenode(format('public.%I', of_table)::pg_catalog.regclass),
        next_page = 0,
        rows_copied = 0,
        is_copied = false
    where progress.table_name = of_table;
end;
$$;
comment on function rollout.begin_again(text) is 'Empties a ghost and copies its table from the first page on, as after TRUNCATE.';
revoke all on function rollout.begin_again(text) from public;

create function rollout.copy_pages(pages integer, out of_table text, out copied integer, out next_page bigint, out all_pages bigint)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    filenode pg_catalog.oid;
    here pg_catalog.text;
    ids pg_catalog.text[];
begin
    copied := 0;
    select progress.table_name, progress.next_page, progress.filenode
    into of_table, next_page, filenode
    from rollout.progress
    where not progress.is_copied
    order by progress.place
    limit 1;
    if of_table is null then
        return;
    end if;

    -- Before its file is looked at: who waits for VACUUM FULL waits here, and sees the new one.
    execute format('lock table public.%I in access share mode', of_table);
    if filenode <> pg_relation_filenode(format('public.%I', of_table)::pg_catalog.regclass) then
        -- VACUUM FULL, or TRUNCATE, has moved the rows. What was carried is carried again.
        filenode := pg_relation_filenode(format('public.%I', of_table)::pg_catalog.regclass);
        next_page := 0;
    end if;
    all_pages := pg_relation_size(format('public.%I', of_table)::pg_catalog.regclass)
        / current_setting('block_size')::pg_catalog.int4;

    here := format('v1.ctid >= %L and v1.ctid < %L', format('(%s,0)', next_page), format('(%s,0)', next_page + pages));
    execute format('select array(select v1.id::text from public.%I as v1 where %s)', of_table, here) into ids;
    if of_table = 'profiles' and next_page = 0 then
        -- Who has deleted their own profile has none in v1.
        ids := ids || array(
            select users.id::pg_catalog.text
            from auth.users
            where not exists (select from public.profiles where profiles.id = users.id)
        );
    end if;
    copied := case when ids = '{}' then 0 else rollout.carry(of_table, ids, here) end;

    next_page := next_page + pages;
    update rollout.progress
    set filenode = filenode,
        next_page = next_page,
        rows_copied = case when next_page = pages then 0 else progress.rows_copied end + copied,
        is_copied = next_page >= all_pages
    where progress.table_name = of_table;
end;
$$;
comment on function rollout.copy_pages(integer) is
'Copies the next pages of the next table that is not copied yet, and says which, how many rows and how far it is; null at the end.';
revoke all on function rollout.copy_pages(integer) from public;

-- One transaction of the runner: first what changed, then a few more pages, both as of one moment.
create function rollout.turn(
    pages integer, notes integer,
    out of_table text, out copied integer, out applied integer, out next_page bigint, out all_pages bigint, out is_done boolean
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
begin
    perform rollout.prepare();
    applied := rollout.apply_notes(notes);
    perform rollout.keep_week();
    if pages > 0 then
        select turned.of_table, turned.copied, turned.next_page, turned.all_pages
        into of_table, copied, next_page, all_pages
        from rollout.copy_pages(pages) as turned;
    end if;
    is_done := not exists (select from rollout.progress where not progress.is_copied)
        and not exists (select from rollout.dirty);
end;
$$;
comment on function rollout.turn(integer, integer) is
'One turn of the runner: applies up to so many notes, and copies up to so many pages.';
revoke all on function rollout.turn(integer, integer) from public;

-- A week that begins meanwhile changes every profile.
create function rollout.keep_week() returns boolean
language plpgsql
set search_path = ''
as $$
begin
    update rollout.state
    set week_reset_date = private.next_week_reset(now())
    where week_reset_date <> private.next_week_reset(now());
    if found then
        update rollout.progress
        set next_page = 0,
            is_copied = false
        where table_name = 'profiles';
    end if;
    return found;
end;
$$;
comment on function rollout.keep_week() is 'Has all profiles carried again once another week has begun, and says whether it did.';
revoke all on function rollout.keep_week() from public;
