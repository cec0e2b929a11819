-- Issue 27 as proposed: the review's statement, quoted.

DROP POLICY profiles_insert_own ON profiles;
