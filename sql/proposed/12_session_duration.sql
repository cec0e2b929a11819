-- Issue 12 as proposed: the review's statement, quoted.

ALTER TABLE sessions ADD CONSTRAINT sessions_duration_non_negative
CHECK (duration_seconds IS NULL OR duration_seconds >= 0);
