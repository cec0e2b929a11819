"""Policies, functions and views as teams write them, put into v2: what is open though it looks closed, and the other way round.

The SQL runs as the owner of the schema, but for what only the administrator may do.
"""

from breaks import Variation

OPEN = [
    Variation(
        "policy_open",
        "public' is the schema of the table that is read, and no flag of the row",
        """
        create policy x on public.sessions for select to authenticated using (exists (select from public.scenarios c
            where c.id = scenario_id))
        """,
    ),
    Variation(
        "policy_open",
        "public' is the function's schema, and the function asks nobody",
        """
        create function public.is_real(n int) returns boolean language sql immutable set search_path='' as 'select n >=
            0';
        revoke all on function public.is_real(int) from public, anon;
        grant execute on function public.is_real(int) to authenticated;
        create policy x on public.sessions for select to authenticated using (public.is_real(scenario_id))
        """,
    ),
    Variation(
        "policy_open",
        "public' is the type's schema",
        """
        create type public.mood as enum ('good','bad');
        alter table public.sessions add mood public.mood not null default 'good';
        create policy x on public.sessions for select to authenticated using (mood <> 'bad')
        """,
    ),
    Variation(
        "policy_open",
        "anon passes",
        """
        create policy x on public.messages for select to anon, authenticated using (user_id = (select auth.uid()) or
            (select auth.uid()) is null);
        grant select on public.messages to anon
        """,
    ),
    Variation(
        "policy_open",
        "an active session is not a published one",
        """
        alter table public.sessions add status text not null default 'active';
        create policy x on public.sessions for select to authenticated using (status = 'active')
        """,
    ),
    Variation(
        "policy_open",
        "sessions that are not archived are not public",
        """
        alter table public.sessions add archived_at timestamptz;
        create policy x on public.sessions for select to authenticated using (archived_at is null)
        """,
    ),
    Variation(
        "policy_open",
        "last_activity_at is no flag",
        """
        create policy x on public.sessions for select to authenticated using (last_activity_at > now() - interval '100
            years')
        """,
    ),
    Variation(
        "policy_open",
        "opening' is not 'open",
        """
        alter table public.sessions add system_prompt text not null default 'x';
        create policy x on public.sessions for select to authenticated using (system_prompt <> '')
        """,
    ),
    Variation(
        "policy_open",
        "is active false anyone",
        """
        alter table public.sessions add is_shared boolean not null default false;
        create policy x on public.sessions for select to authenticated using (is_shared = false)
        """,
    ),
    Variation(
        "policy_open",
        "it opens what is NOT public",
        """
        alter table public.sessions add is_public boolean not null default false;
        create policy x on public.sessions for select to authenticated using (not is_public)
        """,
    ),
    Variation(
        "policy_open",
        "status not deleted",
        """
        alter table public.messages add status text not null default 'sent';
        create policy x on public.messages for select to authenticated using (status <> 'deleted')
        """,
    ),
    Variation(
        "policy_open",
        "aal2 says nothing of whose rows",
        """
        create policy mfa on public.messages as restrictive to authenticated using ((select auth.jwt()->>'aal') =
            'aal2');
        create policy x on public.messages for select to authenticated using (true)
        """,
    ),
    Variation(
        "policy_open",
        "the restrictive policy keeps out the banned only",
        """
        alter table public.profiles add is_banned boolean not null default false;
        create policy nb on public.messages as restrictive for select to authenticated using (not exists (select from
            public.profiles p where p.id = (select auth.uid()) and p.is_banned));
        create policy x on public.messages for select to authenticated using (true)
        """,
    ),
    Variation(
        "policy_open",
        "the restrictive policy asks only that the caller is not deleted",
        """
        create policy nb on public.messages as restrictive for select to authenticated using (exists (select from
            public.profiles p where p.id = (select auth.uid()) and p.deleted_at is null));
        create policy x on public.messages for select to authenticated using (true)
        """,
    ),
    Variation(
        "policy_open",
        "every account has a profile",
        """
        create policy x on public.messages for select to authenticated using (auth.uid() in (select id from
            public.profiles))
        """,
    ),
    Variation(
        "policy_open",
        "every account has a profile, again",
        """
        create policy x on public.messages for select to authenticated using (exists (select 1 from public.profiles p
            where p.id = (select auth.uid())))
        """,
    ),
    Variation(
        "policy_open",
        "any account that has a profile",
        """
        create function private.current_profile() returns uuid language sql stable security definer set
            search_path=pg_catalog, pg_temp as $$select p.id from public.profiles p where p.id = auth.uid()$$;
        grant usage on schema private to authenticated;
        grant execute on function private.current_profile() to authenticated;
        create policy x on public.messages for select to authenticated using ((select private.current_profile()) <>
            '00000000-0000-0000-0000-000000000000')
        """,
    ),
    Variation(
        "policy_open",
        "every caller has an account (through a definer function",
        """
        create function private.known(who uuid) returns boolean language sql stable security definer set
            search_path=pg_catalog, pg_temp as 'select exists (select from auth.users u where u.id = who)';
        grant usage on schema private to authenticated;
        grant execute on function private.known(uuid) to authenticated;
        create policy x on public.messages for select to authenticated using (private.known((select auth.uid())))
        """,
    ),
    Variation(
        "policy_open",
        "the function only asks whether somebody is signed in",
        """
        create function private.is_authenticated() returns boolean language sql stable set search_path='' as 'select
            auth.uid() is not null';
        grant usage on schema private to authenticated;
        grant execute on function private.is_authenticated() to authenticated;
        create policy x on public.messages for select to authenticated using ((select private.is_authenticated()))
        """,
    ),
    Variation(
        "policy_open",
        "the function says whether the caller has any session, and nothing of the row",
        """
        create function private.has_sessions() returns boolean language sql stable security definer set
            search_path=pg_catalog, pg_temp as 'select exists (select from public.sessions s where s.user_id =
            auth.uid())';
        grant usage on schema private to authenticated;
        grant execute on function private.has_sessions() to authenticated;
        create policy x on public.messages for select to authenticated using ((select private.has_sessions()))
        """,
    ),
    Variation(
        "policy_open",
        "who has a session reads all",
        """
        create policy x on public.messages for select to authenticated using ((select auth.uid()) in (select user_id
            from public.sessions))
        """,
    ),
    Variation(
        "policy_open",
        "who has a session reads all, again",
        """
        create policy x on public.messages for select to authenticated using ((select auth.uid()) = any (array(select
            s.user_id from public.sessions s)))
        """,
    ),
    Variation(
        "policy_open",
        "members.session_id is compared with itself",
        """
        create table public.members (session_id uuid not null references public.sessions, user_id uuid not null
            references public.profiles, primary key (session_id, user_id));
        create index on public.members (user_id);
        alter table public.members enable row level security;
        create policy m on public.members for select to authenticated using (user_id = (select auth.uid()));
        revoke all on public.members from anon, authenticated;
        grant select on public.members to authenticated;
        create policy x on public.messages for select to authenticated using (exists (select 1 from public.members
            where session_id = session_id and user_id = (select auth.uid())));
        insert into public.members select id, user_id from public.sessions where
            user_id='b0000000-0000-4000-8000-000000000000' limit 1
        """,
    ),
    Variation(
        "policy_open",
        "everybody who is not blocked reads everything",
        """
        create table public.blocks (user_id uuid primary key references public.profiles);
        alter table public.blocks enable row level security;
        grant select on public.blocks to authenticated;
        create policy b on public.blocks for select to authenticated using (user_id = (select auth.uid()));
        create policy x on public.messages for select to authenticated using (not exists (select from public.blocks b
            where b.user_id = (select auth.uid())))
        """,
    ),
    Variation(
        "policy_open",
        "any account but one passes",
        """
        create policy x on public.messages for select to authenticated using ((select auth.uid()) <>
            '00000000-0000-0000-0000-000000000000'::uuid)
        """,
    ),
    Variation(
        "policy_open",
        "uid length",
        """
        create policy x on public.messages for select to authenticated using (length((select auth.uid())::text) > 0)
        """,
    ),
    Variation(
        "policy_open",
        "uid text not empty",
        """
        create policy x on public.messages for select to authenticated using ((select auth.uid())::text <> '')
        """,
    ),
    Variation(
        "policy_open",
        "it opens exactly the others' rows",
        """
        create policy x on public.messages for select to authenticated using (user_id <> (select auth.uid()))
        """,
    ),
    Variation(
        "policy_open",
        "every token has the issuer",
        """
        create policy x on public.messages for select to authenticated using (auth.jwt()->>'iss' = 'supabase')
        """,
    ),
    Variation(
        "policy_open",
        "any account with a second factor reads all",
        """
        create policy x on public.messages for select to authenticated using ((select auth.jwt()->>'aal') = 'aal2')
        """,
    ),
    Variation(
        "policy_open",
        "every token has a sub",
        """
        create policy x on public.messages for select to authenticated using ((select auth.jwt()) ? 'sub')
        """,
    ),
    Variation(
        "policy_open",
        "one of the list is every account",
        """
        create policy x on public.messages for select to authenticated using ((select auth.role()) in ('authenticated',
            'service_role'))
        """,
    ),
    Variation(
        "policy_open",
        "every token has a session",
        """
        create policy x on public.messages for select to authenticated using ((select auth.jwt() ->> 'session_id') <>
            '')
        """,
    ),
    Variation(
        "policy_open",
        "any address",
        """
        create policy x on public.messages for select to authenticated using ((select auth.jwt() ->> 'email') like
            '%@%')
        """,
    ),
    Variation(
        "policy_open",
        "everybody signed in by email",
        """
        create policy x on public.messages for select to authenticated using ((select auth.jwt() -> 'app_metadata' ->>
            'provider') = 'email')
        """,
    ),
    Variation(
        "policy_open",
        "for a visitor the comparison is null, and null is not false",
        """
        create policy x on public.messages for select to anon using ((user_id = (select auth.uid())) is not false);
        grant select on public.messages to anon
        """,
    ),
    Variation(
        "policy_open",
        "a visitor has no id, so that each row is theirs",
        """
        create policy x on public.messages for select to anon using (user_id = coalesce((select auth.uid())::text,
            user_id::text)::uuid);
        grant select on public.messages to anon
        """,
    ),
    Variation(
        "policy_open",
        "one branch of the case lets all pass",
        """
        create policy x on public.messages for select to authenticated using (case when role = 'user' then user_id =
            (select auth.uid()) else true end)
        """,
    ),
    Variation(
        "policy_open",
        "not system",
        """
        create policy x on public.messages for select to authenticated using (role <> 'assistant')
        """,
    ),
    Variation(
        "user_metadata",
        "raw_user_meta_data is what users write",
        """
        create function private.is_admin() returns boolean language sql stable security definer set search_path='' as
            $$select exists (select from auth.users where id = auth.uid() and raw_user_meta_data ->> 'role' =
            'admin')$$;
        grant usage on schema private to authenticated;
        grant execute on function private.is_admin() to authenticated;
        create policy x on public.messages for select to authenticated using ((select private.is_admin()))
        """,
    ),
    Variation(
        "user_metadata",
        "the policy's function trusts what users write",
        """
        create function private.is_admin() returns boolean language sql stable set search_path='' as $$select
            coalesce(auth.jwt() -> 'user_metadata' ->> 'role' = 'admin', false)$$;
        grant usage on schema private to authenticated;
        grant execute on function private.is_admin() to authenticated;
        create policy x on public.messages for select to authenticated using ((select private.is_admin()))
        """,
    ),
    Variation(
        "user_metadata",
        "raw metadata in policy",
        """
        create policy x on public.messages for select to authenticated using (exists (select from auth.users u where
            u.id = (select auth.uid()) and u.raw_user_meta_data ->> 'role' = 'admin'))
        """,
    ),
    Variation(
        "policy_open",
        "attachments of everybody's messages (a table that reaches a personal one",
        """
        create table public.message_attachments (id bigint generated always as identity primary key, message_id uuid
            not null references public.messages on update cascade, url text not null);
        create index on public.message_attachments (message_id);
        alter table public.message_attachments enable row level security;
        revoke all on public.message_attachments from anon, authenticated;
        grant select on public.message_attachments to authenticated;
        create policy x on public.message_attachments for select to authenticated using (true);insert into
            public.message_attachments(message_id,url) select id, 'x' from public.messages where
            user_id='a0000000-0000-4000-8000-000000000000'
        """,
    ),
    Variation(
        "policy_open",
        "the partition's own policy is true",
        """
        create table public.logs_extra partition of public.logs for values from ('2001-01-01') to ('2001-02-01');
        alter table public.logs_extra enable row level security;
        revoke all on public.logs_extra from anon, authenticated;
        grant select on public.logs_extra to authenticated;
        create policy x on public.logs_extra for select to authenticated using (true);insert into public.logs
            (level,event_type,user_id,created_at) select 'info', (select min(code) from public.event_types),
            'a0000000-0000-4000-8000-000000000000', '2001-01-05'
        """,
    ),
    Variation(
        "rls_off",
        "a security_invoker view over a granted table without RLS in a schema without USAGE",
        """
        create schema app;
        create table app.notes (id bigint generated always as identity primary key, user_id uuid not null references
            public.profiles, body text);
        create index on app.notes(user_id);
        grant select on app.notes to authenticated;
        create view public.notes with (security_invoker=true) as select * from app.notes;
        revoke all on public.notes from anon, authenticated;
        grant select on public.notes to authenticated;insert into app.notes(user_id,body) values
            ('a0000000-0000-4000-8000-000000000000','secret')
        """,
    ),
    Variation(
        "view_bypasses_rls",
        "an invoker view over a plain view of a schema without USAGE",
        """
        create view private.all_messages as select * from public.messages;
        grant select on private.all_messages to authenticated;
        create view public.all_messages with (security_invoker=true) as select * from private.all_messages;
        revoke all on public.all_messages from anon, authenticated;
        grant select on public.all_messages to authenticated
        """,
    ),
    Variation(
        47,
        "insert into auth.users (id' is no question who is calling",
        """
        create function public.invite(p_email text) returns void language plpgsql security definer set
            search_path=pg_catalog, pg_temp as $$begin insert into auth.users (id, email) values (gen_random_uuid(),
            p_email);
        end$$;
        revoke all on function public.invite(text) from public, anon;
        grant execute on function public.invite(text) to authenticated
        """,
        server_wide=True,
    ),
    Variation(
        47,
        "get_session asks nobody, what it calls only writes down who called",
        """
        create function private.track(what text) returns void language sql set search_path='' as $$select
            set_config('app.last', what || coalesce(auth.uid()::text,''), true)$$;
        create function public.get_session(p_id uuid) returns setof public.messages language plpgsql security definer
            set search_path=pg_catalog, pg_temp as $$begin perform private.track('read');
        return query select * from public.messages m where m.session_id = p_id;
        end$$;
        revoke all on function public.get_session(uuid) from public, anon;
        grant execute on function public.get_session(uuid) to authenticated
        """,
    ),
    Variation(
        47,
        "an overload of the same name asks, this one does not",
        """
        create function public.history(p_n int) returns bigint language sql security definer set
            search_path=pg_catalog, pg_temp begin atomic select count(*) from public.messages where user_id =
            auth.uid();
        end;
        create function public.history(p_n text) returns bigint language sql security definer set
            search_path=pg_catalog, pg_temp begin atomic select count(*) from public.messages;
        end;
        revoke all on function public.history(int), public.history(text) from public, anon;
        grant execute on function public.history(int), public.history(text) to authenticated
        """,
    ),
    Variation(
        47,
        "auth.uid() stands in a string alone",
        """
        create function public.dump() returns setof public.messages language plpgsql security definer set
            search_path=pg_catalog, pg_temp as $$begin raise debug 'no auth.uid() needed here';
        return query select * from public.messages;
        end$$;
        revoke all on function public.dump() from public, anon;
        grant execute on function public.dump() to authenticated
        """,
    ),
    Variation(
        "client_unbound",
        "the client's role bypasses row-level security",
        """
        alter role authenticated bypassrls
        """,
        server_wide=True,
    ),
    Variation(
        "client_unbound",
        "no policy binds the owner of a table, and the owner is a client",
        """
        alter table public.messages owner to authenticated
        """,
        server_wide=True,
    ),
    Variation(
        48,
        "a notice refuses nothing",
        """
        alter table public.profiles add role text not null default 'user';
        grant update (role) on public.profiles to authenticated;
        create policy u on public.profiles for update to authenticated using (id = (select auth.uid())) with check (id
            = (select auth.uid()));
        create function private.watch_role() returns trigger language plpgsql set search_path='' as $$begin if new.role
            is distinct from old.role then raise notice 'role of % changed', new.id;
        end if;
        return new;
        end$$;
        create trigger watch_role before update on public.profiles for each row execute function private.watch_role()
        """,
    ),
    Variation(
        18,
        "the helper is given the session and asks only for the caller",
        """
        alter table public.messages drop constraint messages_session_id_user_id_fkey;
        alter table public.messages add constraint mfk foreign key (session_id) references public.sessions (id) on
            update restrict on delete cascade;
        drop trigger zz_messages_open_session_for_client on public.messages;
        drop trigger zz_messages_open_session on public.messages;
        grant insert (user_id) on public.messages to authenticated;
        create function private.may_write(s uuid) returns boolean language sql stable security definer set
            search_path=pg_catalog, pg_temp as $$select auth.uid() is not null and s is not null$$;
        grant usage on schema private to authenticated;
        grant execute on function private.may_write(uuid) to authenticated;
        alter policy messages_insert_own on public.messages with check (user_id = (select auth.uid()) and role = 'user'
            and private.may_write(session_id))
        """,
    ),
    Variation(
        18,
        "the trigger raises for something else",
        """
        alter table public.messages drop constraint messages_session_id_user_id_fkey;
        alter table public.messages add constraint mfk foreign key (session_id) references public.sessions (id) on
            update restrict on delete cascade;
        drop trigger zz_messages_open_session_for_client on public.messages;
        drop trigger zz_messages_open_session on public.messages;
        grant insert (user_id) on public.messages to authenticated;
        create function private.check_session() returns trigger language plpgsql security definer set
            search_path=pg_catalog, pg_temp as $$begin if auth.uid() is null then raise exception 'sign in';
        end if;
        update public.sessions set last_activity_at = now() where id = new.session_id;
        return new;
        end$$;
        create trigger check_session before insert on public.messages for each row execute function
            private.check_session()
        """,
    ),
    Variation(
        18,
        "session_id not in",
        """
        alter table public.messages drop constraint messages_session_id_user_id_fkey;
        alter table public.messages add constraint mfk foreign key (session_id) references public.sessions (id) on
            update restrict on delete cascade;
        drop trigger zz_messages_open_session_for_client on public.messages;
        drop trigger zz_messages_open_session on public.messages;
        grant insert (user_id) on public.messages to authenticated;
        alter policy messages_insert_own on public.messages with check (user_id = (select auth.uid()) and role = 'user'
            and session_id not in (select s.id from public.sessions s where s.user_id = (select auth.uid()) and
            s.is_completed))
        """,
    ),
    Variation(
        50,
        "finished ones of more than a day",
        """
        alter policy sessions_delete_own on public.sessions using (user_id = (select auth.uid()) and not (is_completed
            and completed_at > now() - interval '1 day'))
        """,
    ),
    Variation(
        48,
        "a person sets their own credits",
        """
        alter table public.profiles drop column completed_scenario_count cascade, add credits_remaining int not null
            default 10, add is_super_admin boolean not null default false, add user_type text not null default 'free',
            add message_limit int not null default 20;
        grant update (credits_remaining, is_super_admin, user_type, message_limit) on public.profiles to authenticated;
        create policy u on public.profiles for update to authenticated using (id = (select auth.uid())) with check (id
            = (select auth.uid()))
        """,
    ),
    Variation(
        15,
        "the check keeps out blanks, and has no upper limit",
        """
        alter table public.messages drop constraint messages_content_size_limit;
        alter table public.messages add constraint messages_content_not_blank check (content ~ '\\S')
        """,
    ),
    Variation(
        15,
        "the check has no upper limit",
        """
        alter table public.messages drop constraint messages_content_size_limit;
        alter table public.messages add constraint messages_content_not_blank check (length(content) > 0 and content <>
            'null')
        """,
    ),
    Variation(
        46,
        "ON CONFLICT cannot take a deferrable constraint",
        """
        alter table public.messages drop constraint messages_client_message_id_unique;
        alter table public.messages add constraint cm unique (session_id, client_message_id) deferrable initially
            immediate
        """,
    ),
    Variation(
        50,
        "a person sets the tokens and costs that are billed",
        """
        alter table public.sessions add tokens_used int not null default 0, add total_cost_cents int not null default 0;
        grant update (tokens_used, total_cost_cents) on public.sessions to authenticated
        """,
    ),
    Variation(
        12,
        "an equals sign elsewhere in the check",
        """
        alter table public.sessions drop constraint sessions_duration_non_negative;
        alter table public.sessions add constraint d check (is_completed = true or duration_seconds is null)
        """,
    ),
    Variation(
        8,
        "an OR that always holds",
        """
        alter table public.sessions drop constraint sessions_message_counts_non_negative;
        alter table public.sessions add constraint d check (message_count_main <> 999 or message_count_main = 999), add
            constraint d2 check (message_count_helper <> 999 or message_count_helper = 999)
        """,
    ),
    Variation(
        8,
        "the check holds the wrong way",
        """
        alter table public.sessions drop constraint sessions_completed_after_started;
        alter table public.sessions add constraint w check (completed_at is null or started_at is not null)
        """,
    ),
    Variation(
        54,
        "gen_random_uuid()::text::uuid",
        """
        alter table public.messages alter id set default (gen_random_uuid()::text)::uuid
        """,
    ),
    Variation(
        49,
        "an own moment through a column default that is granted, ALL privileges by PUBLIC",
        """
        grant insert on public.messages to public
        """,
    ),
    Variation(
        19,
        "index only on one partition",
        """
        do $$declare r record;
        begin for r in select i.indexrelid::regclass::text as n from pg_index i where
            i.indrelid='public.logs'::regclass and pg_get_indexdef(i.indexrelid) like '%(session_id%' loop execute
            'drop index '||r.n;
        end loop;
        end$$
        """,
    ),
]
"""What is open; server_wide stands for what the administrator does."""

CLOSED = [
    Variation(
        "policy_open",
        "the caller is an administrator by their profile",
        """
        alter table public.profiles add role text not null default 'user';
        create policy x on public.sessions for select to authenticated using (exists (select 1 from public.profiles p
            where p.id = (select auth.uid()) and p.role = 'admin'))
        """,
    ),
    Variation(
        18,
        "a session among those that the caller sees",
        """
        alter table public.messages drop constraint messages_session_id_user_id_fkey;
        alter table public.messages add constraint mfk foreign key (session_id) references public.sessions (id) on
            update restrict on delete cascade;
        drop trigger zz_messages_open_session_for_client on public.messages;
        drop trigger zz_messages_open_session on public.messages;
        grant insert (user_id) on public.messages to authenticated;
        alter policy messages_insert_own on public.messages with check (user_id = (select auth.uid()) and role = 'user'
            and session_id in (select id from public.sessions))
        """,
    ),
    Variation(
        18,
        "a session that the caller sees",
        """
        alter table public.messages drop constraint messages_session_id_user_id_fkey;
        alter table public.messages add constraint mfk foreign key (session_id) references public.sessions (id) on
            update restrict on delete cascade;
        drop trigger zz_messages_open_session_for_client on public.messages;
        drop trigger zz_messages_open_session on public.messages;
        grant insert (user_id) on public.messages to authenticated;
        alter policy messages_insert_own on public.messages with check (user_id = (select auth.uid()) and role = 'user'
            and exists (select from public.sessions s where s.id = messages.session_id))
        """,
    ),
    Variation(
        "policy_open",
        "a comparison that is never null",
        """
        alter policy messages_select_own on public.messages using (coalesce(user_id = (select auth.uid()), false))
        """,
    ),
    Variation(
        "policy_open",
        "two spellings of the claim",
        """
        alter policy messages_select_own on public.messages using (user_id = coalesce((select auth.uid()), (select
            (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid)))
        """,
    ),
    Variation(
        "policy_open",
        "a setting of the backend's",
        """
        alter policy messages_select_own on public.messages using (user_id = (select current_setting('app.user_id',
            true)::uuid))
        """,
    ),
    Variation(
        "policy_open",
        "what its owner has not kept private",
        """
        alter table public.sessions add is_private boolean not null default true;
        create policy x on public.sessions for select to authenticated using (not is_private)
        """,
    ),
    Variation(
        "user_metadata",
        "a table of that name",
        """
        create table public.user_metadata (user_id uuid primary key references public.profiles, plan text);
        alter table public.user_metadata enable row level security;
        revoke all on public.user_metadata from anon, authenticated;
        grant select on public.user_metadata to authenticated;
        create policy o on public.user_metadata for select to authenticated using (user_id = (select auth.uid()));
        create policy x on public.scenarios for select to authenticated using (exists (select from public.user_metadata
            um where um.user_id = (select auth.uid())))
        """,
    ),
    Variation(
        "auth_users_exposed",
        "a view that asks for rights that nobody has",
        """
        create view public.me with (security_invoker=true) as select id, email from auth.users where id = auth.uid();
        revoke all on public.me from anon, authenticated;
        grant select on public.me to authenticated
        """,
    ),
    Variation(
        "view_bypasses_rls",
        "a short word for true",
        """
        create view public.m2 with (security_invoker = t) as select * from public.messages;
        grant select on public.m2 to authenticated
        """,
    ),
    Variation(
        47,
        "two dashes in a string",
        """
        create function public.note(t text) returns bigint language sql security definer set search_path=pg_catalog,
            pg_temp as $$select count(*) + length(replace(t, '--', '')) from public.messages where user_id =
            auth.uid()$$;
        revoke all on function public.note(text) from public, anon;
        grant execute on function public.note(text) to authenticated
        """,
    ),
    Variation(
        47,
        "a comment that begins in a string",
        """
        create function public.glob(t text) returns bigint language sql security definer set search_path=pg_catalog,
            pg_temp as $$select count(*) from public.messages where t <> '/*' and user_id = auth.uid() and t <> '*/'$$;
        revoke all on function public.glob(text) from public, anon;
        grant execute on function public.glob(text) to authenticated
        """,
    ),
    Variation(
        50,
        "what has no end",
        """
        alter policy sessions_delete_own on public.sessions using (user_id = (select auth.uid()) and completed_at is
            null)
        """,
    ),
    Variation(
        12,
        "not the other way round",
        """
        alter table public.sessions drop constraint sessions_duration_non_negative;
        alter table public.sessions add constraint d check (not (duration_seconds < 0))
        """,
    ),
    Variation(
        15,
        "the other way round",
        """
        alter table public.messages drop constraint messages_content_size_limit;
        alter table public.messages add constraint l check (8000 >= length(content))
        """,
    ),
    Variation(
        15,
        "a trigger refuses",
        """
        alter table public.messages drop constraint messages_content_size_limit;
        create function private.lim() returns trigger language plpgsql set search_path='' as $$begin if
            length(new.content) > 8000 then raise exception 'too long';
        end if;
        return new;
        end$$;
        create trigger lim before insert on public.messages for each row execute function private.lim()
        """,
    ),
    Variation(
        "caller_search_path",
        "commit and chain",
        """
        create procedure private.batch() language plpgsql as $$begin for i in 1..2 loop perform 1;
        commit and chain;
        end loop;
        end$$;
        revoke all on procedure private.batch() from public
        """,
    ),
    Variation(
        "caller_search_path",
        "a body that is kept as it was read",
        """
        create function public.n_messages() returns bigint language sql begin atomic select count(*) from
            public.messages;
        end;
        revoke all on function public.n_messages() from public, anon, authenticated
        """,
    ),
    Variation(
        26,
        "a body that is kept as it was read",
        """
        create function public.n() returns bigint language sql security definer begin atomic select count(*) from
            public.messages where user_id = auth.uid();
        end;
        revoke all on function public.n() from public, anon, authenticated
        """,
    ),
    Variation(
        "rls_no_policy",
        "a policy that closes",
        """
        create table public.flags (id int primary key, name text);
        alter table public.flags enable row level security;
        grant select on public.flags to authenticated;
        create policy r on public.flags as restrictive for all using (true)
        """,
    ),
]
"""What is closed."""
