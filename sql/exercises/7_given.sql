-- Exercise 7: the support team keeps a note about each session; several people may have it open.

create table public.notes (
    session_id uuid primary key references public.sessions (id) on delete cascade on update restrict,
    body text not null default '',
    version integer not null default 1
);
alter table public.notes owner to workbook_owner;
comment on table public.notes is 'What the support team writes down about a session.';
grant select, insert, update, delete on public.notes to service_role;

insert into public.notes (session_id)
select id
from public.sessions;
