-- 54 · B8 · Random keys scatter every insert
-- Locks: sessions, messages, logs with its partitions, and message_chunks, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and
-- writes wait.
-- Repairs: nothing; keys that are there stay as they are.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

do $$
declare
    -- A UUID of version 7 (RFC 9562): 48 bits of milliseconds, the 7, 12 bits of what is left of the millisecond, then random ones
    -- as in version 4. PostgreSQL has a function for it from 18 on. An expression of built-in functions needs no grant, is the same
    -- on every release, and comes back with a dump. to_hex() counts 4096 steps a millisecond: twelve digits, and three.
    in_order constant text := '(overlay('
        'lpad(to_hex((date_part(''epoch'', clock_timestamp()) * 4096000)::bigint), 15, ''0'') placing ''7'' from 13 for 0'
        ') || substr(gen_random_uuid()::text, 20))::uuid';
    key record;
begin
    for key in
        select
            kept.on_table,
            kept.column_name,
            pg_get_expr(adbin, adrelid) as default_now
        from (values
            ('public.messages'::regclass, 'id'),
            ('public.logs', 'id'),
            ('public.message_chunks', 'message_id'),
            -- Messages are filed by their session as well: those of today's sessions come together.
            ('public.sessions', 'id')
        ) as kept (on_table, column_name)
        join pg_attribute on attrelid = kept.on_table and attname = kept.column_name
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
    loop
        if key.default_now is null or key.default_now ~ '^([a-z_]+\.)?(gen_random_uuid|uuid_generate_v4)\(\)$' then
            execute format('alter table %s alter column %I set default %s', key.on_table, key.column_name, in_order);
        else
            raise notice '%.% has a default of your own, which stays: %', key.on_table, key.column_name, key.default_now;
        end if;
    end loop;
end;
$$;

comment on column public.messages.id is
'The message. A streamed reply keeps the id under which its fragments came (issue 4). Made in the order of time, so that the index '
'grows at its end; it tells when that was (B8).';
comment on column public.sessions.id is
'The session. It stays as it is: messages refer to it (issue 40). Made in the order of time (B8).';
comment on column public.logs.id is
'The event, in the order of time (B8). The key adds created_at, as partitions ask for, so nothing but chance keeps an id unique.';
comment on column public.message_chunks.message_id is
'The id that the finished message will have, made in the order of time; the first fragment may leave it out (B8).';

commit;
