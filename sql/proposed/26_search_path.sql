-- Issue 26 as proposed: the review's setting, on every SECURITY DEFINER function of v1.

alter function public.create_profile_for_new_user() SET search_path = public, pg_temp;
alter function public.delete_expired_sessions() SET search_path = public, pg_temp;
alter function public.delete_old_logs() SET search_path = public, pg_temp;
alter function public.reset_weekly_limits() SET search_path = public, pg_temp;
