-- 16 · Scenarios emoji unconstrained
-- Locks: scenarios, ACCESS EXCLUSIVE, while its few rows are repaired and checked. Reads and writes wait.
-- Repairs: an emoji of over 64 bytes is cut to its first character, an empty one becomes a question mark.
-- Clients: a scenario with an empty emoji is refused (23514).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.scenarios in access exclusive mode;

insert into private.repairs (issue, table_name, row_id, before)
select 16, 'scenarios', scenarios.id, to_jsonb(scenarios)
from public.scenarios
where octet_length(emoji) not between 1 and 64;

update public.scenarios
set emoji = coalesce(nullif(left(emoji, 1), ''), '❓')
where octet_length(emoji) not between 1 and 64;

alter table public.scenarios
    add constraint scenarios_emoji_size_limit check (octet_length(emoji) between 1 and 64);
comment on constraint scenarios_emoji_size_limit on public.scenarios is
'Room for an emoji that is joined of several characters, and for no novel (issue 16).';

comment on column public.scenarios.emoji is
'The picture in the list: one emoji, which may take many bytes (issue 16).';

commit;
