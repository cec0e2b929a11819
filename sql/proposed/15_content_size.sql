-- Issue 15 as proposed: the review's statement, quoted.

ALTER TABLE messages ADD CONSTRAINT messages_content_size_limit
CHECK (char_length(content) <= 8000);
