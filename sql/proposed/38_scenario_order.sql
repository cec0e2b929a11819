-- Issue 38 as proposed: the review's statements, quoted.

ALTER TABLE scenarios
  ADD COLUMN updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
  ADD COLUMN sort_order SMALLINT NOT NULL DEFAULT 0;

CREATE TRIGGER update_scenarios_updated_at
BEFORE UPDATE ON scenarios
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
