-- As proposed, with an index that begins with the user.
drop policy messages_select_own on public.messages;
drop policy messages_insert_own on public.messages;
create policy messages_select_own on public.messages for select using (auth.uid() = user_id);
create policy messages_insert_own on public.messages for insert with check (auth.uid() = user_id);
