-- Audit rows of a month ahead, and of one that has no table.

insert into audit (audit_time, tenant_id, session_id, document_id, action, credential) values
    (now() + interval '70 days', 'aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-0000000000ff',
     'd0000000-0000-4000-8000-0000000000ff', 'create', 'none'),
    ('2100-01-01', 'aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-0000000000ff',
     'd0000000-0000-4000-8000-0000000000ff', 'cancel', 'none');
