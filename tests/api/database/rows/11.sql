-- A job that the catalog has pushed, and a tenant that is being deleted.

update print_job set is_in_catalog = true where revision > 0;

insert into tenant (tenant_id, subscription_active, revision, delete_time) values
    ('dddddddd-0000-4000-8000-000000000004', false, 1, now());
