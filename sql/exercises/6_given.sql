-- Exercise 6: a view for the learner's start page, granted as the platform grants by default.

create view public.my_sessions as
select
    id,
    user_id,
    is_completed,
    started_at,
    (select scenarios.title from public.scenarios where scenarios.id = sessions.scenario_id) as title
from public.sessions;
alter view public.my_sessions owner to workbook_owner;
comment on view public.my_sessions is 'A learner''s sessions with the scenario''s title.';
grant select, insert, update, delete on public.my_sessions to anon, authenticated, service_role;
