-- Issue 42, option B as proposed: the review's statements, quoted.

CREATE EXTENSION IF NOT EXISTS citext;
ALTER TABLE profiles ALTER COLUMN email TYPE CITEXT;
CREATE UNIQUE INDEX uniq_profiles_email ON profiles(email);
