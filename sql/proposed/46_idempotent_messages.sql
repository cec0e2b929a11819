-- Issue 46 as proposed: the review's statements, quoted.

ALTER TABLE messages
  ADD COLUMN client_message_id UUID NULL;

CREATE UNIQUE INDEX idx_messages_idempotency
  ON messages(session_id, client_message_id)
  WHERE client_message_id IS NOT NULL;
