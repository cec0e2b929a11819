-- Issue 41 as proposed: the review's statement, quoted.

CREATE INDEX idx_sessions_scenario
ON sessions(scenario_id, is_completed);
