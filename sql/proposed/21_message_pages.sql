-- Issue 21 as proposed: the review's statement, quoted.

CREATE INDEX idx_messages_session_time_id
ON messages(session_id, timestamp, id);
