-- A store that was adopted.

insert into object_store (store_id, adopt_time) values
    ('57000000-0000-4000-8000-000000000001', now() - interval '1 day');
