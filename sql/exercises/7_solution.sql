-- Exercise 7: the update itself asks for the version that was loaded, and asks again after it has waited.

update public.notes
set body = :body,
    version = version + 1
where session_id = :session
    and version = :version
