-- 06 · Missing extensions dependency declaration
-- Locks: nothing that a query touches.
-- Repairs: an extension that stands in another schema is made anew in extensions, unless something depends on it.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create schema if not exists extensions;

-- IF NOT EXISTS is silent about an extension that is there but somewhere else. ALTER EXTENSION … SET SCHEMA would
-- move it, but wants the owner of each function in it, who for a trusted extension is the server's administrator.
-- DROP without CASCADE refuses where a column or a default depends on the extension.
do $$
declare
    misplaced record;
begin
    for misplaced in
        select extension.extname
        from pg_catalog.pg_extension as extension
        where extension.extname in ('pgcrypto', 'citext')
            and extension.extnamespace <> 'extensions'::regnamespace
    loop
        execute format('drop extension %I', misplaced.extname);
    end loop;
end;
$$;

create extension if not exists pgcrypto with schema extensions;
create extension if not exists citext with schema extensions;

commit;
