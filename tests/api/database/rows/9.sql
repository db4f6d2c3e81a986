-- The sessions of the earlier files have the default, as a program leaves it that does not know the column. The upload
-- URL of this one was renewed.

update upload_session set url_generation = 3 where session_id = '01900000-0000-7000-8000-000000000002';
