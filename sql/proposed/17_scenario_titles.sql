-- Issue 17 as proposed: the review's statement, quoted.

ALTER TABLE scenarios ADD CONSTRAINT scenarios_title_unique UNIQUE (title);
