-- Issue 19 as proposed: the review's statement, quoted.

CREATE INDEX idx_logs_session
ON logs(session_id, created_at DESC)
WHERE session_id IS NOT NULL;
