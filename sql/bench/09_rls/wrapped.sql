-- The sub-select, and no index.
drop index public.messages_user_id_sent_at_idx;
