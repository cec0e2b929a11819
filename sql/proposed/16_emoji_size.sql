-- Issue 16 as proposed: the review's statement, quoted.

ALTER TABLE scenarios ADD CONSTRAINT scenarios_emoji_size_limit
CHECK (octet_length(emoji) <= 16);
