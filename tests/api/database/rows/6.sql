-- The sessions of the earlier files have the default, as a program leaves it that does not know the column. This one has
-- its own value.

update upload_session set sweep_time = expire_time where session_id = '01900000-0000-7000-8000-000000000001';
