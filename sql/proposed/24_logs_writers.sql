-- Issue 24 as proposed: the review's statement, quoted.

CREATE POLICY logs_insert_service
ON logs FOR INSERT
TO authenticated
WITH CHECK (false);
