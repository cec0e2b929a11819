-- 52 · B6 · An index that begins another one
-- Locks: logs, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Issues 20 and 21 have dropped what became double there.
-- idx_logs_level_created begins with the same column and answers whatever this one does.
select private.drop_index('public.logs', 'btree (level)', 'idx_logs_level');

-- The indexes of v1 that stay, by what they hold, whatever they are called.
do $$
declare
    kept record;
begin
    for kept in
        select indexrelid::regclass as name, said.what
        from (values
            ('public.sessions'::regclass, 'btree (user_id) WHERE %', 'One open session a learner (v1).'),
            ('public.sessions', 'btree (user_id, completed_at DESC) WHERE %', 'A learner''s completed sessions, newest first (v1).'),
            ('public.logs', 'btree (event_type)', 'Logs of a kind; also what a deleted kind''s foreign key looks up (issue 29).'),
            ('public.logs', 'btree (created_at DESC)', 'Newest logs first (v1).'),
            ('public.logs', 'btree (level, created_at DESC)', 'Newest logs of a level first, or all of it (B6).'),
            ('public.logs', 'btree (user_id) WHERE %', 'Logs of a learner; also what a deleted profile''s foreign key looks up (v1).')
        ) as said (on_table, definition, what)
        join pg_index on indrelid = said.on_table and pg_get_indexdef(indexrelid) like '% USING ' || said.definition
        where not indisprimary
    loop
        execute format('comment on index %s is %L', kept.name, kept.what);
    end loop;
end;
$$;

commit;
