-- Issue 23 as proposed: the review's statement, quoted.

CREATE INDEX idx_logs_metadata ON logs USING GIN (metadata);
