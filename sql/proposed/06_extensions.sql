-- Issue 6 as proposed: the review's statement, quoted.

CREATE EXTENSION IF NOT EXISTS pgcrypto;
