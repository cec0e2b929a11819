-- Issue 37 as proposed: the review's statements, quoted.

CREATE OR REPLACE FUNCTION prevent_message_updates()
RETURNS TRIGGER AS $$
BEGIN
  IF OLD.deleted_at IS DISTINCT FROM NEW.deleted_at THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'Messages are immutable and cannot be updated';
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER messages_immutable
BEFORE UPDATE ON messages
FOR EACH ROW EXECUTE FUNCTION prevent_message_updates();
