-- Rollout: what old clients ask, once v2's tables are in use
-- Makes v1's views and jobs over v2's tables, in the schema rollout_compat, which the switch renames to compat_v1.
-- When: before the switch, as the owner of the schema, in a transaction of whoever runs it, after v2's tables are made in the
-- schema rollout_new. A view is bound to its table and follows it into public; a function looks for public when it runs, so it runs
-- after the switch only. No function says the name of this schema.
-- Locks: v2's tables, ACCESS SHARE, for a moment. Nothing waits.
-- Repairs: nothing.
-- Clients: data/compat.csv says what each statement of v1's app is answered.

create schema rollout_compat;
comment on schema rollout_compat is
'What v1 looked like, for old clients: PostgREST exposes it first for them. It goes when the last of them is gone.';
grant usage on schema rollout_compat to anon, authenticated, service_role;

-- --- What is read --------------------------------------------------------------------------------------------------

-- Each view asks as its caller: policies and column grants of v2 decide.

create view rollout_compat.profiles with (security_invoker = true) as
select
    id,
    email::text as email,
    completed_scenario_count,
    current_week_completion_count,
    week_reset_date,
    created_at,
    updated_at
from rollout_new.profiles
where deleted_at is null;
comment on view rollout_compat.profiles is
'profiles as v1 had them: an address is compared by its letters, and a deleted account, which has none, is not there.';

-- A view that names a column is refused to whoever may not read it, even if they ask for another one. A visitor may read some
-- columns of scenarios, so the others come by a function: as whoever asks, and only if somebody does. It is stable, so the
-- planner leaves it out where its column is not asked for.
create function rollout_compat.whole_scenario(scenario integer) returns rollout_new.scenarios
language plpgsql
stable
set search_path = ''
as $$
begin
    return (select scenarios from public.scenarios where scenarios.id = scenario);
end;
$$;
comment on function rollout_compat.whole_scenario(integer) is
'A scenario with all its columns, for whoever may read them all. With the rights of the caller: a visitor is refused.';
revoke all on function rollout_compat.whole_scenario(integer) from public, anon;
grant execute on function rollout_compat.whole_scenario(integer) to authenticated, service_role;

create view rollout_compat.scenarios with (security_invoker = true) as
select
    id,
    title,
    emoji,
    (rollout_compat.whole_scenario(id)).initial_message_main,
    (rollout_compat.whole_scenario(id)).initial_message_helper,
    is_active,
    (rollout_compat.whole_scenario(id)).created_at
from rollout_new.scenarios;
comment on view rollout_compat.scenarios is
'scenarios as v1 had them. Visitors read id, title, emoji and is_active of the active ones, as in v2.';

create view rollout_compat.sessions with (security_invoker = true) as
select
    id,
    user_id,
    scenario_id,
    is_completed,
    started_at,
    last_activity_at,
    completed_at,
    message_count_main,
    message_count_helper,
    duration_seconds,
    started_at as created_at,
    updated_at
from rollout_new.sessions;
comment on view rollout_compat.sessions is
'sessions as v1 had them: created_at is started_at.';

create view rollout_compat.messages with (security_invoker = true) as
select
    id,
    session_id,
    case
        when role = 'user' then 'user'
        when chat_type = 'main' then 'scenario'
        else 'helper'
    end as role,
    chat_type::text as chat_type,
    content,
    sent_at as timestamp,
    sent_at as created_at
from rollout_new.messages;
comment on view rollout_compat.messages is
'messages as v1 had them: an assistant is the scenario in main and the helper in helper, and both moments are sent_at.';

create view rollout_compat.logs with (security_invoker = true) as
select
    id,
    level,
    event_type,
    user_id,
    session_id,
    metadata,
    created_at
from rollout_new.logs;
comment on view rollout_compat.logs is 'logs as v1 had them.';

-- As in data/privileges.csv. Which columns, and which rows, the tables say.
grant select (id, title, emoji, is_active) on rollout_compat.scenarios to anon;
grant select on
    rollout_compat.profiles,
    rollout_compat.scenarios,
    rollout_compat.sessions,
    rollout_compat.messages,
    rollout_compat.logs
to authenticated;
grant insert, update, delete on rollout_compat.sessions to authenticated;
grant insert on rollout_compat.messages to authenticated;
grant select, insert, update, delete on
    rollout_compat.profiles,
    rollout_compat.scenarios,
    rollout_compat.sessions,
    rollout_compat.messages,
    rollout_compat.logs
to service_role;

-- --- What is written -----------------------------------------------------------------------------------------------

-- The triggers of a view run by their names, each with what the one before made of the row: first what v1's words mean, then the
-- writing. All run with the rights of the caller.

create function rollout_compat.understand_message() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    broken pg_catalog.text;
begin
    if tg_op = 'INSERT' then
        new.timestamp := coalesce(new.timestamp, new.created_at);
    elsif new.timestamp is not distinct from old.timestamp then
        new.timestamp := new.created_at;
    end if;

    -- v1's own checks, by their names; and the one that v2 had as long as it told the two assistants apart.
    broken := case
        when new.role not in ('user', 'scenario', 'helper') then 'messages_role_check'
        when new.chat_type not in ('main', 'helper') then 'messages_chat_type_check'
        when (new.role, new.chat_type) in (('scenario', 'helper'), ('helper', 'main')) then 'messages_role_chat_type_valid'
    end;
    if broken is not null then
        raise exception using
            errcode = 'check_violation',
            schema = tg_table_schema,
            table = tg_table_name,
            constraint = broken,
            message = format('new row for relation "%s" violates check constraint "%s"', tg_table_name, broken),
            hint = 'A user speaks in both chats, the scenario in main, the helper in helper.';
    end if;
    return new;
end;
$$;
comment on function rollout_compat.understand_message() is
'Refuses the roles and chats that v1 refused, and a role in a chat in which v2 would take it for another.';
revoke all on function rollout_compat.understand_message() from public, anon, authenticated, service_role;

create function rollout_compat.understand_session() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    -- A client's clock may be a little off.
    earliest constant pg_catalog.timestamptz := now() - interval '5 minutes';
    latest constant pg_catalog.timestamptz := now() + interval '5 minutes';
    is_completed_now pg_catalog.bool;
begin
    if tg_op = 'INSERT' then
        new.started_at := coalesce(new.started_at, new.created_at);
    elsif new.created_at is distinct from old.created_at and new.created_at is distinct from new.started_at then
        raise exception using
            errcode = 'undefined_column',
            schema = tg_table_schema,
            table = tg_table_name,
            column = 'created_at',
            message = 'created_at of a session is its started_at',
            detail = format('session %s', old.id),
            hint = 'Write started_at.';
    end if;

    -- What a client may leave out, since the server writes the same by itself. Whatever else a client sends goes on, and v2
    -- refuses it: an id, another moment, a count.
    if not row_security_active('public.sessions'::pg_catalog.regclass) then
        return new;
    elsif tg_op = 'INSERT' then
        new.is_completed := nullif(new.is_completed, false);
        new.message_count_main := nullif(new.message_count_main, 0);
        new.message_count_helper := nullif(new.message_count_helper, 0);
        if new.last_activity_at between earliest and latest then
            new.last_activity_at := null;
        end if;
        if new.updated_at between earliest and latest then
            new.updated_at := null;
        end if;
        return new;
    end if;

    -- v1's trigger wrote it as well, whatever was sent.
    new.updated_at := old.updated_at;
    if new.last_activity_at between earliest and latest then
        -- The heartbeat. In v2 each message is one.
        new.last_activity_at := old.last_activity_at;
    end if;
    is_completed_now := new.completed_at between earliest and latest;
    if new.is_completed and (not old.is_completed or is_completed_now) then
        -- v2 takes its own clock, and keeps the first completion where it comes again. v1 computed the duration as well.
        new.completed_at := old.completed_at;
        new.duration_seconds := old.duration_seconds;
    elsif is_completed_now and not old.is_completed then
        -- The first of two requests: the second one completes.
        new.completed_at := old.completed_at;
    end if;
    return new;
end;
$$;
comment on function rollout_compat.understand_session() is
'Leaves out what a client sends though v2''s server writes it by itself: the moment of completion, the heartbeat, the defaults.';
revoke all on function rollout_compat.understand_session() from public, anon, authenticated, service_role;

-- One for all tables, since all do the same: hand on to the table of the view's name what the statement gives, and nothing else,
-- so that v2's column grants, policies, checks and triggers judge that and no more. An insert gives what is not null, since a
-- trigger is not told whether a null was sent; an update gives what changes. A value travels as text, the only form that each
-- type has without loss. Triggers of a team's own on the table look for their names where they do when the API writes.
create function rollout_compat.write_row() returns trigger
language plpgsql
set search_path = public, extensions, pg_temp
set datestyle = 'ISO, YMD'
as $$
declare
    base constant pg_catalog.regclass := format('public.%I', tg_table_name);
    -- What v2 calls a column of v1's, where that is not the same.
    renamed constant pg_catalog.jsonb := tg_argv[0];
    -- What is written where an update changes nothing: v2 has to judge that as well.
    untouched constant pg_catalog.text := tg_argv[1];
    shown constant pg_catalog.text[] := array(
        select attname
        from pg_catalog.pg_attribute
        where attrelid = tg_relid
            and attnum > 0
        order by attnum
    );
    as_texts constant pg_catalog.text := (
        select format('select array[%s]', string_agg(
            case name
                when 'role' then $e$case when ($1).role in ('scenario', 'helper') then 'assistant' else ($1).role end$e$
                else format('($1).%I::pg_catalog.text', name)
            end,
            ', ' order by place
        ))
        from unnest(shown) with ordinality as one (name, place)
    );
    seen pg_catalog.text[];
    given pg_catalog.text[];
    written pg_catalog.record;
    statement pg_catalog.text;
    words pg_catalog.text;
    said pg_catalog.int4;
    find constant pg_catalog.text := format('select * from %I.%I where ', tg_table_schema, tg_table_name);
    -- The key of logs has two columns.
    by_key constant pg_catalog.text := case tg_table_name when 'logs' then 'id = %L and created_at = %L' else 'id = %L' end;
    stored pg_catalog.jsonb;
    present pg_catalog.jsonb;
begin
    if tg_op <> 'INSERT' then
        execute as_texts into seen using old;
    end if;
    if tg_op <> 'DELETE' then
        execute as_texts into given using new;
    end if;

    -- A row is written only where it still is as the statement saw it. As a condition of the update, PostgreSQL asks that again
    -- after a wait.
    select
        string_agg(name, ', ') filter (where is_given) as names,
        string_agg(value, ', ') filter (where is_given) as sources,
        string_agg(format('%s = %s', name, value), ', ') filter (where is_given) as settings,
        string_agg(
            case when seen_text is null then format('%s is null', name) else format('%s = %s', name, seen_value) end, ' and '
        ) filter (where is_given or tg_op = 'DELETE' or name in ('id', 'created_at')) as conditions
    into written
    from (
        select
            quote_ident(attname) as name,
            format('$1[%s]::%s', place, format_type(atttypid, atttypmod)) as value,
            format('$2[%s]::%s', place, format_type(atttypid, atttypmod)) as seen_value,
            seen_text,
            given_text is distinct from seen_text as is_given
        from unnest(shown, given, seen) with ordinality as one (name, given_text, seen_text, place)
        join pg_catalog.pg_attribute on attname = coalesce(renamed ->> one.name, one.name)
        where attrelid = base
            and attnum > 0
            and not attisdropped
    ) as one;

    statement := case tg_op
        when 'INSERT' then format(
            'insert into %s as stored %s%%s returning to_jsonb(stored)',
            base, coalesce('(' || written.names || ') values (' || written.sources || ')', 'default values')
        )
        when 'UPDATE' then format(
            'update %s as stored set %s where %s returning to_jsonb(stored)',
            base, coalesce(written.settings, format('%1$I = stored.%1$I', untouched)), written.conditions
        )
        else format('delete from %s as stored where %s returning to_jsonb(stored)', base, written.conditions)
    end;
    if tg_op = 'INSERT' and current_query() ~* 'on\s+conflict\s+do\s+nothing' then
        execute format(statement, ' on conflict do nothing') into stored using given;
        -- ON CONFLICT DO NOTHING without a target is not told to a trigger, so the statement's text is asked, without texts,
        -- quoted names and comments. Where each insert in it says so, a duplicate is skipped. What it does not show is an error,
        -- as without it: an insert inside a function or behind EXECUTE, or one of several of which not all say so. What it shows
        -- wrongly: an insert of somebody's trigger, on a table whose own insert says so.
        if stored is null then
            words := regexp_replace(
                current_query(), $re$\me'([^'\\]|\\.|'')*'|'([^']|'')*'|"[^"]*"|--[^\n]*|/\*([^*]|\*[^/])*\*/$re$, ' ', 'gi'
            );
            said := regexp_count(words, '\mon\s+conflict\s+do\s+nothing\M', 1, 'i');
            if said = 0 or said <> regexp_count(words, '\minsert\s+into\M', 1, 'i') then
                execute format(statement, '') into stored using given;
            end if;
        end if;
    elsif tg_op = 'INSERT' then
        execute format(statement, '') into stored using given;
    else
        execute statement into stored using given, seen;
    end if;

    if stored is not null and tg_op = 'DELETE' then
        return old;
    elsif stored is not null then
        -- What the view shows of it, for RETURNING.
        execute find || format(by_key, stored ->> 'id', stored ->> 'created_at') into new;
        return new;
    elsif tg_op = 'INSERT' then
        return null;
    end if;

    -- Nothing was written: by a policy, because there is nothing to write, or because somebody was faster.
    execute format('select to_jsonb(one) from (%s) as one', find || format(by_key, old.id, to_jsonb(old) ->> 'created_at'))
    into present;
    if exists (
        select
        from unnest(shown, given, seen) as one (name, given_text, seen_text)
        where (tg_op = 'DELETE' or given_text is distinct from seen_text)
            and present -> name <> to_jsonb(old) -> name
    ) then
        raise exception using
            errcode = 'serialization_failure',
            schema = tg_table_schema,
            table = tg_table_name,
            message = 'somebody has changed the row at the same time',
            detail = format('%s %s', tg_table_name, old.id),
            hint = 'Send the statement again.';
    elsif tg_op = 'UPDATE' and present is not null and written.settings is null and not row_security_active(base) then
        -- A message is not written where nothing changes, and v1 counted it.
        return new;
    end if;
    return null;
end;
$$;
comment on function rollout_compat.write_row() is
'Writes what a statement on a view of v1''s gives into the table of its name in public, as the caller. Arguments: what v2 calls '
'a column that has another name now, as JSON, and the column that an update names which changes nothing.';
revoke all on function rollout_compat.write_row() from public, anon, authenticated, service_role;

create trigger profiles_write
instead of insert or update or delete on rollout_compat.profiles
for each row execute function rollout_compat.write_row('{}', 'updated_at');
comment on trigger profiles_write on rollout_compat.profiles is 'Into public.profiles.';

create trigger scenarios_write
instead of insert or update or delete on rollout_compat.scenarios
for each row execute function rollout_compat.write_row('{}', 'id');
comment on trigger scenarios_write on rollout_compat.scenarios is 'Into public.scenarios.';

create trigger sessions_understand
instead of insert or update on rollout_compat.sessions
for each row execute function rollout_compat.understand_session();
comment on trigger sessions_understand on rollout_compat.sessions is
'Before sessions_write, by its name: leaves out what the server writes by itself.';
create trigger sessions_write
instead of insert or update or delete on rollout_compat.sessions
for each row execute function rollout_compat.write_row('{}', 'is_completed');
comment on trigger sessions_write on rollout_compat.sessions is 'Into public.sessions.';

create trigger messages_understand
instead of insert or update on rollout_compat.messages
for each row execute function rollout_compat.understand_message();
comment on trigger messages_understand on rollout_compat.messages is
'Before messages_write, by its name: refuses what v1 refused.';
create trigger messages_write
instead of insert or update or delete on rollout_compat.messages
for each row execute function rollout_compat.write_row('{"timestamp": "sent_at"}', 'id');
comment on trigger messages_write on rollout_compat.messages is 'Into public.messages.';

create trigger logs_write
instead of insert or update or delete on rollout_compat.logs
for each row execute function rollout_compat.write_row('{}', 'id');
comment on trigger logs_write on rollout_compat.logs is 'Into public.logs.';

-- --- What is called ------------------------------------------------------------------------------------------------

-- v2's jobs return a row, and a failure in it. v1's returned a number, and raised.

create function rollout_compat.delete_expired_sessions() returns integer
language plpgsql
set search_path = ''
as $$
declare
    result pg_catalog.record;
begin
    select * into result from public.delete_expired_sessions();
    if result.status <> 'ok' then
        raise exception using errcode = left(result.error, 5), message = substr(result.error, 8);
    end if;
    return result.affected;
end;
$$;
comment on function rollout_compat.delete_expired_sessions() is
'Job of v1: deletes sessions left open for over 7 days, and returns how many.';

create function rollout_compat.delete_old_logs() returns integer
language plpgsql
set search_path = ''
as $$
declare
    result pg_catalog.record;
begin
    select * into result from public.delete_old_logs();
    if result.status <> 'ok' then
        raise exception using errcode = left(result.error, 5), message = substr(result.error, 8);
    end if;
    return result.affected;
end;
$$;
comment on function rollout_compat.delete_old_logs() is
'Job of v1: removes logs over 30 days old, and returns how many.';

create function rollout_compat.reset_weekly_limits() returns integer
language plpgsql
set search_path = ''
as $$
declare
    result pg_catalog.record;
begin
    -- v1 knew no batches: whoever calls this calls it once.
    select * into result from public.reset_weekly_limits(batch_size => 2147483647);
    if result.status <> 'ok' then
        raise exception using errcode = left(result.error, 5), message = substr(result.error, 8);
    end if;
    return result.affected;
end;
$$;
comment on function rollout_compat.reset_weekly_limits() is
'Job of v1: starts a new week for each profile whose week is over, and returns how many.';

revoke all on function
    rollout_compat.delete_expired_sessions(), rollout_compat.delete_old_logs(), rollout_compat.reset_weekly_limits()
from public, anon, authenticated;
grant execute on function
    rollout_compat.delete_expired_sessions(), rollout_compat.delete_old_logs(), rollout_compat.reset_weekly_limits()
to service_role;
