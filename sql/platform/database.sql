-- The Supabase stand-in, part 2: what every project database holds before the first migration.
-- Schemas auth and extensions, the users table, the three claim readers, and the default grants.
-- Runs as the server's administrator, in a database that the schema owner owns. Locks nothing in use.

do $$
begin
    if pg_catalog.to_regnamespace('auth') is not null then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'this database already has a schema auth, so the stand-in does not touch it',
            hint = 'Let the workbook create its own database.';
    end if;
end;
$$;

create schema auth;
create schema extensions;

create table auth.users (
    id uuid primary key default gen_random_uuid(),
    email text,
    phone text unique,
    raw_user_meta_data jsonb,
    is_sso_user boolean not null default false,
    is_anonymous boolean not null default false,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);
-- Single sign-on brings addresses that somebody else may have signed up with.
create unique index users_email_partial_key on auth.users (email) where not is_sso_user;

create function auth.jwt() returns jsonb
language sql
stable
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb;
$$;

create function auth.uid() returns uuid
language sql
stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    )::uuid;
$$;

create function auth.role() returns text
language sql
stable
as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
    );
$$;

grant usage on schema auth, extensions, public to anon, authenticated, service_role;
grant usage on schema auth to workbook_owner;
-- The schema owner may hang a trigger and a foreign key on auth.users, but does not own it.
grant select, references, trigger on auth.users to workbook_owner;
grant usage, create on schema extensions to workbook_owner;

-- The platform's defaults: whatever the owner makes in public is open to the API roles, RLS alone guards it.
alter default privileges for role workbook_owner in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role workbook_owner in schema public
    grant all on sequences to anon, authenticated, service_role;
alter default privileges for role workbook_owner in schema public
    grant all on functions to anon, authenticated, service_role;
