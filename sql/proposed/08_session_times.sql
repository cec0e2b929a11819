-- Issue 8 as proposed: the review's statements, quoted.

ALTER TABLE sessions ADD CONSTRAINT sessions_completed_after_started
CHECK (completed_at IS NULL OR completed_at >= started_at);

ALTER TABLE sessions ADD CONSTRAINT sessions_message_counts_non_negative
CHECK (message_count_main >= 0 AND message_count_helper >= 0);
