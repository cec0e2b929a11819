-- Exercise 2: the column of the filter first, then the order, and only the rows that the page shows.

create index sessions_scenario_id_completed_at_idx on public.sessions (scenario_id, completed_at desc)
where is_completed;
