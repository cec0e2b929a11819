-- Issue 14 as proposed: the review's statement, quoted.

ALTER TABLE messages ADD CONSTRAINT messages_role_chat_type_valid
CHECK (
  (role = 'scenario' AND chat_type = 'main') OR
  (role = 'helper' AND chat_type = 'helper') OR
  (role = 'user' AND chat_type IN ('main', 'helper'))
);
