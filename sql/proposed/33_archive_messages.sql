-- Issue 33 as proposed: the review's statement, quoted.

CREATE OR REPLACE FUNCTION archive_old_messages(cutoff_months INTEGER DEFAULT 12)
RETURNS INTEGER AS $$
  -- Future implementation: move old messages to archive table or cold storage
  RETURN 0;
$$ LANGUAGE plpgsql;
