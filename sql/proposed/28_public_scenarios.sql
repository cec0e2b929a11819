-- Issue 28 as proposed: the review's statements, quoted.

CREATE VIEW public_scenarios AS
SELECT id, title, emoji, difficulty FROM scenarios;

GRANT SELECT ON public_scenarios TO anon;
REVOKE SELECT ON scenarios FROM anon;
GRANT SELECT ON scenarios TO authenticated;
