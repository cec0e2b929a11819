-- v1: the policy looks each message's session up.
drop policy messages_select_own on public.messages;
drop policy messages_insert_own on public.messages;
drop index public.messages_user_id_sent_at_idx;
create policy messages_select_own_authenticated on public.messages
    for select to authenticated using (exists (
        select from public.sessions
        where sessions.id = messages.session_id
            and sessions.user_id = auth.uid()
    ));
create policy messages_insert_own_authenticated on public.messages
    for insert to authenticated with check (exists (
        select from public.sessions
        where sessions.id = messages.session_id
            and sessions.user_id = auth.uid()
    ));
