-- Issue 13 as proposed: the review's statements, quoted.

CREATE TYPE message_role AS ENUM ('user', 'scenario', 'helper');
CREATE TYPE chat_type AS ENUM ('main', 'helper');
ALTER TABLE messages ALTER COLUMN role TYPE message_role USING role::message_role;
ALTER TABLE messages ALTER COLUMN chat_type TYPE chat_type USING chat_type::chat_type;
