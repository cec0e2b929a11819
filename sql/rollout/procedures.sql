-- The rollout's steps for whoever may run psql and nothing else: each asks for its locks a moment at a time, and commits as it goes.
-- Runs as the schema's owner. Defines a function and procedures only.

create function rollout.begin_copy() returns void
language plpgsql
set search_path = ''
as $$
begin
    if (select phase from rollout.state) = 'starting' then
        insert into rollout.progress (table_name, place, filenode)
        select name, place, pg_relation_filenode(format('public.%I', name)::pg_catalog.regclass)
        from unnest(array['scenarios', 'sessions', 'profiles', 'messages', 'logs']) with ordinality as copied (name, place)
        on conflict do nothing;
        update rollout.state
        set phase = 'started',
            catalog = rollout.catalog_now('public');
    end if;
end;
$$;
comment on function rollout.begin_copy() is 'Ends the step start, once every table is watched.';
revoke all on function rollout.begin_copy() from public;

create procedure rollout.start_watching()
language plpgsql
as $$
declare
    our text;
    is_done boolean;
begin
    foreach our in array array['users', 'scenarios', 'sessions', 'profiles', 'messages', 'logs'] loop
        is_done := false;
        for attempt in 1..200 loop
            begin
                perform rollout.watch(our);
                is_done := true;
            exception
                when lock_not_available or deadlock_detected then
                    is_done := false;
            end;
            commit;
            exit when is_done;
            perform pg_sleep(random());
        end loop;
        if not is_done then
            raise exception using
                errcode = 'lock_not_available',
                message = format('%s could not be locked', our),
                hint = 'Look in pg_stat_activity for a transaction that stays open, and call this again.';
        end if;
    end loop;
    perform rollout.begin_copy();
end;
$$;
comment on procedure rollout.start_watching() is  -- noqa: LT01
'The end of the step start: has every change of v1 noted.';
revoke all on procedure rollout.start_watching() from public;

create procedure rollout.take_turn(pages integer, notes integer, inout is_done boolean default null)
language plpgsql
as $$
begin
    begin
        is_done := (rollout.turn(pages, notes)).is_done;
    exception
        when integrity_constraint_violation then
            -- Notes that only hold together.
            is_done := (rollout.turn(0, 2147483647)).is_done;
    end;
end;
$$;
comment on procedure rollout.take_turn(integer, integer, boolean) is  -- noqa: LT01
'One turn, and where it does not hold, all notes at once.';
revoke all on procedure rollout.take_turn(integer, integer, boolean) from public;

create procedure rollout.copy_all(pages integer default 32, pause double precision default 0.05)
language plpgsql
as $$
declare
    is_done boolean := false;
begin
    if (select phase from rollout.state) not in ('started', 'linked') then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('the rollout is %s', (select phase from rollout.state)),
            hint = 'The step start comes first.';
    end if;
    while not is_done loop
        call rollout.take_turn(pages, 2000, is_done);
        commit;
        perform pg_sleep(pause);
    end loop;
end;
$$;
comment on procedure rollout.copy_all(integer, double precision) is  -- noqa: LT01
'The step copy: so many pages at a time, with a pause in seconds after each.';
revoke all on procedure rollout.copy_all(integer, double precision) from public;

create procedure rollout.switch_patiently()
language plpgsql
as $$
declare
    is_done boolean;
begin
    for attempt in 1..200 loop
        call rollout.take_turn(16, 5000, is_done);
        commit;
        begin
            perform rollout.switch();
            is_done := true;
        exception
            when lock_not_available or deadlock_detected then
                is_done := false;
        end;
        commit;
        if is_done then
            return;
        end if;
        perform pg_sleep(random());
    end loop;
    raise exception using
        errcode = 'lock_not_available',
        message = 'the switch did not get its locks',
        hint = 'Look in pg_stat_activity for a transaction that stays open, and call this again.';
end;
$$;
comment on procedure rollout.switch_patiently() is  -- noqa: LT01
'The step switch.';
revoke all on procedure rollout.switch_patiently() from public;

create procedure rollout.back_patiently()
language plpgsql
as $$
declare
    is_done boolean;
begin
    if (select phase from rollout.state) = 'returned' then
        return;
    end if;
    perform rollout.prepare_back();
    commit;
    for attempt in 1..200 loop
        while (select count(*) from rollout.dirty) > 20 loop
            begin
                perform rollout.apply_notes_back(2000);
            exception
                when integrity_constraint_violation then
                    perform rollout.apply_notes_back(2147483647);
            end;
            commit;
        end loop;
        begin
            perform rollout.go_back();
            is_done := true;
        exception
            when lock_not_available or deadlock_detected then
                is_done := false;
        end;
        commit;
        if is_done then
            return;
        end if;
        perform pg_sleep(random());
    end loop;
    raise exception using
        errcode = 'lock_not_available',
        message = 'the way back did not get its locks',
        hint = 'Look in pg_stat_activity for a transaction that stays open, and call this again.';
end;
$$;
comment on procedure rollout.back_patiently() is  -- noqa: LT01
'The step back, up to the moment at which clients have v1 again.';
revoke all on procedure rollout.back_patiently() from public;

create procedure rollout.stop_watching()
language plpgsql
as $$
declare
    our text;
    is_done boolean;
begin
    foreach our in array array['users', 'scenarios', 'sessions', 'profiles', 'messages', 'messages_archive', 'message_chunks', 'logs', 'event_types'] loop
        for attempt in 1..200 loop
            is_done := our <> 'users' and to_regclass('public.' || our) is null;
            exit when is_done;
            begin
                perform rollout.unwatch(our);
                is_done := true;
            exception
                when lock_not_available or deadlock_detected then
                    is_done := false;
            end;
            commit;
            exit when is_done;
            perform pg_sleep(random());
        end loop;
        if not is_done then
            raise exception using
                errcode = 'lock_not_available',
                message = format('%s could not be locked', our),
                hint = 'Look in pg_stat_activity for a transaction that stays open, and call this again.';
        end if;
    end loop;
end;
$$;
comment on procedure rollout.stop_watching() is  -- noqa: LT01
'Takes the notes off all tables; what comes next drops the rollout.';
revoke all on procedure rollout.stop_watching() from public;
