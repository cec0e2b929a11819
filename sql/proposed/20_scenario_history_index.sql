-- Issue 20 as proposed: the review's statements, quoted.

CREATE INDEX idx_sessions_scenario_history
ON sessions(user_id, scenario_id, completed_at DESC)
WHERE is_completed = true;

CREATE INDEX idx_sessions_user_scenario
ON sessions(user_id, scenario_id, is_completed);
