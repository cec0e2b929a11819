-- public.logs
-- What changes: distributed by user_id, within its monthly partitions. A log without a learner, such as a job's, has the user of all
-- zeros, by default. The key is (user_id, id, created_at).
-- Why: a learner's logs lie where the learner's rows lie. A distributed table takes no null there.
-- Locks: logs and its partitions, while the rows go to the workers.
-- Clients: leave user_id out where there is none; null is refused (22004). Ask for the zeros, and not for null. A log keeps
-- the ids of a session or a profile that is gone, which v2 sets to null: ON DELETE SET NULL does not go with the learner's column.

set local lock_timeout = '5s';
-- The monthly partitions are tables of their own, each with a foreign key to a reference table.
select set_config('citus.multi_shard_modify_mode', 'sequential', true);
update public.logs
set user_id = '00000000-0000-0000-0000-000000000000'
where user_id is null;
alter table public.logs alter column user_id set default '00000000-0000-0000-0000-000000000000';
alter table public.logs alter column user_id set not null;
comment on column public.logs.user_id is 'The learner; all zeros where there is none, as for a job.';
alter table public.logs drop constraint logs_pkey;
alter table public.logs add constraint logs_pkey primary key (user_id, id, created_at);
comment on constraint logs_pkey on public.logs is 'With the learner first, as a distributed key has to have them.';
drop policy logs_select_own on public.logs;
create policy logs_select_own on public.logs for select to authenticated
using (user_id = auth.uid());
comment on policy logs_select_own on public.logs is 'A learner reads their own logs (issue 51).';

select create_distributed_table('public.logs', 'user_id', colocate_with => 'public.sessions');
alter table public.logs
add constraint logs_event_type_fkey foreign key (event_type) references public.event_types (code) on update restrict on delete restrict;
