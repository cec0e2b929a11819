-- What teams have added to v1: each begins with its name, and says who adds it where that is not the owner.

-- publication columns (as admin)
create publication p for table public.sessions (id, user_id, is_completed), public.profiles where (completed_scenario_count > 0), public.scenarios with (publish='insert');
alter publication p owner to workbook_owner;

-- publication quoted (as admin)
create publication "My ""Pub" for table public.messages, public.logs;
alter publication "My ""Pub" owner to workbook_owner;

-- publication schema (as admin)
create publication s for tables in schema public;

-- publication schema quoted and other table (as admin)
create table public.extra (id int primary key);
create publication s for table public.extra;
alter publication s owner to workbook_owner;

-- private there
create schema private;
create table private.notes (id serial primary key, t text default 'x');
create function private.helper() returns int language sql as 'select 1';
create function private.log() returns int language sql as 'select 1';
create type private.kind as enum ('a');
create table private.messages (id int primary key);
create index on private.notes (t);
alter table private.notes enable row level security;
create policy p on private.notes using (true);
comment on table private.notes is 'x';
grant select on private.notes to anon;
comment on column private.notes.t is 'y';
insert into private.notes (t) values ('a');
create view private.v as select * from private.notes;
grant usage on schema private to wb_support;
comment on schema private is 'theirs';

-- private there, used by a column
create schema private;
create function private.helper() returns text language sql as $$select 'a'$$;
alter table messages add column note text default private.helper();

-- private there, in other hands (as admin)
create schema private authorization wb_support;
grant usage, create on schema private to workbook_owner;
create table private.theirs (id int);
alter table private.theirs owner to wb_support;

-- defaults global
alter default privileges grant select on tables to wb_support;
alter default privileges grant execute on functions to wb_support;
alter default privileges grant usage on schemas to anon;
alter default privileges grant usage on types to wb_support;
alter default privileges revoke usage on types from public;
alter default privileges grant all on tables to anon;

-- defaults revoked
alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke all on tables from anon;
alter default privileges in schema public grant select on tables to wb_support with grant option;

-- team trigger on update_updated_at
create table homework (id int primary key, updated_at timestamptz);
create trigger t before update on homework for each row execute function update_updated_at_column();
create trigger off before update on homework for each row execute function update_updated_at_column();
alter table homework disable trigger off;

-- team trigger on increment
create table drafts (session_id uuid, chat_type text);
create trigger own_count after insert on drafts for each row execute function increment_message_count();

-- team trigger on duration
create table visits (is_completed boolean, started_at timestamptz, completed_at timestamptz, duration_seconds integer);
create trigger own_duration before update on visits for each row execute function calculate_session_duration();

-- policy on team table
create table notes (id int primary key, session_id uuid);
alter table notes enable row level security;
create policy own on notes for select to authenticated using (exists (select from sessions where sessions.id = notes.session_id and sessions.user_id = auth.uid()));
create policy own_w on notes for insert to authenticated with check (exists (select from sessions where sessions.id = notes.session_id and sessions.user_id = auth.uid()));

-- policy on team table, renamed column
create table notes (id int primary key, message_id uuid);
alter table notes enable row level security;
create policy own on notes for select to authenticated using (exists (select from messages where messages.id = notes.message_id and messages.timestamp > now() - interval '1 day'));

-- trigger always and disabled of v1
alter table profiles enable always trigger update_profiles_updated_at;
alter table sessions disable trigger calculate_duration_on_completion;
alter table sessions disable trigger update_sessions_updated_at;

-- own triggers in all states
create function public.tell() returns trigger language plpgsql as $$ begin return coalesce(new, old); end $$;
create trigger tenable after insert on profiles for each row execute function tell();create trigger tdisable after insert on profiles for each row execute function tell();alter table profiles disable trigger tdisable;create trigger tenable after insert on sessions for each row execute function tell();create trigger tdisable after insert on sessions for each row execute function tell();alter table sessions disable trigger tdisable;create trigger tenable after insert on messages for each row execute function tell();create trigger tdisable after insert on messages for each row execute function tell();alter table messages disable trigger tdisable;create trigger tenable after insert on logs for each row execute function tell();create trigger tdisable after insert on logs for each row execute function tell();alter table logs disable trigger tdisable;create trigger tenable after insert on scenarios for each row execute function tell();create trigger tdisable after insert on scenarios for each row execute function tell();alter table scenarios disable trigger tdisable;create trigger ta after update on messages for each row execute function tell(); alter table messages enable always trigger ta; create trigger tr after update on messages for each row execute function tell(); alter table messages enable replica trigger tr;

-- own view function trigger fk (quick)
create table tags (id serial primary key, session_id uuid references sessions on delete cascade);
create view v1v as select id from sessions;
create view v2v as select * from v1v;
create materialized view m3 as select * from v2v;

-- function reading v
create view v1v as select id from sessions;
create function f() returns bigint language sql begin atomic select count(*) from v1v;
end;

-- rowtype functions
create function mine() returns setof sessions language sql stable as 'select * from public.sessions';
create function title(scenarios) returns text language sql immutable as 'select $1.title';
create function arr(messages[]) returns int language sql immutable as 'select 1';
create table kept (s sessions, m messages[]);

-- domain and enum columns
create domain short as text check (length(value) < 50);
create type mood as enum ('a','b');
alter table sessions add column note short default 'x', add column mood mood default 'a';
alter table messages add column moods mood[];
create type pair as (a int, b text);
alter table profiles add column pair pair;

-- generated columns
alter table profiles add column email_lower text generated always as (lower(email)) stored;

-- generated columns ok
alter table sessions add column is_long boolean generated always as (coalesce(duration_seconds, 0) > 60) stored;
alter table messages add column size int generated always as (length(content)) stored;
create index on messages (size);

-- exclusion and unique (as admin)
create extension btree_gist with schema extensions;
alter table sessions add column span tstzrange;
alter table sessions add constraint ex exclude using gist (user_id with =, span with &&);
create unique index u1 on messages (id, session_id);
alter table messages add constraint uu unique (id, session_id, role);

-- trgm index (as admin)
create extension pg_trgm with schema extensions;
create index on scenarios using gin (title extensions.gin_trgm_ops);

-- statistics
create statistics st1 on user_id, scenario_id from sessions;
create statistics st2 (mcv) on level, event_type from logs;
create statistics st3 on (lower(title)), emoji from scenarios;

-- column grants
grant select (id, title) on scenarios to wb_support;
grant update (is_completed) on sessions to wb_support with grant option;
grant select on messages to wb_support;
grant usage on schema public to wb_support;

-- policies of own roles
create policy a on messages for select to wb_support using (true);
create policy b on profiles for select to wb_support, wb_planner using (true);
create policy c on scenarios as restrictive for select to wb_support using (is_active);

-- storage and cluster
alter table messages set (fillfactor = 80, autovacuum_enabled = false, toast.autovacuum_enabled = false);
alter table sessions cluster on sessions_pkey;
alter table messages alter column content set storage external;
alter table messages alter column content set compression pglz;
alter table scenarios alter column title set statistics 500;
alter table profiles alter column email set (n_distinct = -0.5);

-- replica identity
alter table messages replica identity full;
alter table sessions replica identity nothing;
create unique index ri on profiles (id);
alter table profiles replica identity using index ri;

-- comments
comment on table messages is 'Theirs';
comment on column sessions.started_at is 'T';
comment on constraint sessions_pkey on sessions is 'c';
comment on trigger update_sessions_updated_at on sessions is 't';
comment on policy sessions_select_own_authenticated on sessions is 'p';
comment on function delete_old_logs() is 'f';
comment on schema public is 'p';

-- history cli
create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
insert into supabase_migrations.schema_migrations values ('20250101000000', '{}', 'init');

-- history cli, more columns
create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text, created_by text, idempotency_key text unique, rollback text[]);
insert into supabase_migrations.schema_migrations values ('20250101000000', '{}', 'init');

-- extensions there
create extension citext with schema extensions;
create extension pgcrypto with schema extensions;

-- extensions in public
create extension citext with schema public;
create extension pgcrypto with schema public;

-- extension in public in use
create extension citext with schema public;
create table t (c citext);

-- extension in public in use by ours
create extension citext with schema public;
alter table scenarios add column slug citext;

-- no schema extensions (as admin)
drop schema extensions cascade;

-- quoted constraints
alter table messages rename constraint messages_session_id_fkey to "Messages Session";
alter table sessions rename constraint sessions_pkey to "Sessions PK";
alter index idx_messages_chat_type rename to "Idx Chat";
alter trigger update_sessions_updated_at on sessions rename to "Trig X";
alter policy sessions_select_own_authenticated on sessions rename to "Own sessions, read";

-- public open (as admin)
grant create on schema public to public;

-- force rls
alter table messages force row level security;

-- rls off
alter table scenarios disable row level security;

-- other schema
create schema app;
create table app.tenants (id int primary key);
create function app.f() returns text language sql as $$select 'x'$$;
create type app.kind as enum ('a');
alter table sessions add column tenant int references app.tenants, add column k app.kind default 'a';
alter table messages add column note text default app.f();

-- other schema, not needed
create schema app;
create table app.tenants (id int primary key);
create function app.f() returns text language sql as $$select 'x'$$;

-- other schema fk and view
create schema app;
create table app.marks (id int primary key, m uuid references public.messages);
create view app.v as select * from public.sessions;

-- functions of team on names
create function latest() returns text language plpgsql as $$ begin return (select max(timestamp)::text from public.messages); end $$;
 create procedure proc() language plpgsql as $$ begin null; end $$;
 create aggregate agg(int) (sfunc = int4pl, stype = int);

-- v1 function of another owner (as admin)
alter function public.delete_old_logs() owner to wb_support;

-- trigger on users missing (as admin)
drop trigger on_auth_user_created on auth.users;

-- trigger on users twice (as admin)
create trigger another after insert on auth.users for each row execute function public.create_profile_for_new_user(); create function public.hook() returns trigger language plpgsql as $$ begin return new; end $$;
 create trigger hook after insert on auth.users for each row execute function public.hook();

-- view over job
create view own_run as select delete_old_logs() as affected;

-- view over job 2
create function own_run() returns integer language sql begin atomic select delete_expired_sessions();
end;

-- function acl
grant execute on function delete_old_logs() to wb_support;
revoke execute on function reset_weekly_limits() from public;
grant execute on function create_profile_for_new_user() to wb_support;

-- table in public named like v2
create table public.messages_archive (id int);

-- table in public named rollout
create table public.rollout (id int);
create table public.keys (id int);
create table public.noted (id int);
create table public.users (id int);

-- default owner grants
revoke truncate on messages from workbook_owner;

-- own partitioned table
create table public.parts (id int, at date) partition by range (at);
create table public.parts_1 partition of public.parts for values from ('2026-01-01') to ('2027-01-01');

-- own fk from ours
create table schools (id int primary key);
insert into schools values (1);
alter table profiles add column school_id int references schools on delete set null;

-- column named rank
alter table messages add column "user" text, add column id2 uuid default gen_random_uuid(), add column "Weird ""Col" int default 3;
alter table scenarios add column key text, add column page int default 1;

-- logs required fk
create table tenants (id int primary key);
insert into tenants values (7);
alter table logs add column tenant int not null default 7;

-- logs trigger that fails
create function public.boom() returns trigger language plpgsql as $$ begin raise exception 'boom'; end $$;
 create trigger boom before insert on logs for each row execute function public.boom();

-- sequence default elsewhere
alter table logs add column place serial;
create table t2 (p int default nextval('logs_place_seq'));
