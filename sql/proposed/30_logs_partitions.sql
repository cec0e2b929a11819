-- Issue 30 as proposed: the review's statement, quoted, for one month.

CREATE TABLE logs_202610 PARTITION OF logs
FOR VALUES FROM ('2026-10-01') TO ('2026-10-31');
