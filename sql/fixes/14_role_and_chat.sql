-- 14 · Cross-field constraints missing on messages
-- Locks: messages, ACCESS EXCLUSIVE, while its rows are repaired and checked once. Reads and writes wait.
-- Repairs: messages whose role does not belong in their chat take the role that does; they stay where they were read.
-- Clients: a helper in the main chat, or a scenario in the helper chat, is refused (23514).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.messages in access exclusive mode;

insert into private.repairs (issue, table_name, row_id, before)
select 14, 'messages', messages.id, to_jsonb(messages)
from public.messages
where (role, chat_type) in (('scenario', 'helper'), ('helper', 'main'));

update public.messages
set role = case chat_type when 'main' then 'scenario'::public.message_role else 'helper'::public.message_role end
where (role, chat_type) in (('scenario', 'helper'), ('helper', 'main'));

alter table public.messages
    add constraint messages_role_chat_type_valid check (
        role = 'user'
        or (role = 'scenario' and chat_type = 'main')
        or (role = 'helper' and chat_type = 'helper')
    );
comment on constraint messages_role_chat_type_valid on public.messages is
'The character speaks in the main chat, the assistant in the helper chat, the learner in both (issue 14).';

commit;
