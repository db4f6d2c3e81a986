-- The queue of bytes to reclaim, in every phase of its life, and the audit trail of every session.

insert into reclaim (tenant_id, session_id, due_time, final_time, passes, attempts) values
    -- completed: only the last pass
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000005',
     now() + interval '10 minutes', now() + interval '10 minutes', 0, 0),
    -- canceled: no pass yet
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000006',
     now(), now() + interval '10 minutes', 0, 0),
    -- expired: waits for the last pass
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000007',
     now() + interval '10 minutes', now() + interval '10 minutes', 2, 0),
    -- resumed: passes fail
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000008',
     now() + interval '5 seconds', now() + interval '10 minutes', 0, 5),
    -- freed
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000c',
     now(), now() + interval '11 minutes', 0, 0),
    -- withdrawn: a pass runs, on a replica that has crashed
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000d',
     now() + interval '3 seconds', now() + interval '10 minutes', 1, 1);

insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
select tenant_id, session_id, document_id, 'create', owner, 'access-token', 'request-1' from upload_session;

insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
select tenant_id, session_id, document_id,
       case state when 'completed' then 'complete' when 'canceled' then 'cancel' else 'expire' end, ended_by,
       case state when 'completed' then 'upload-url' when 'canceled' then 'access-token' else 'none' end,
       case when state <> 'expired' then 'request-2' end
from upload_session where state <> 'active';

insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
select tenant_id, session_id, document_id, 'free', 'app:catalog-service', 'access-token', 'request-3'
from upload_session join print_document using (tenant_id, document_id) where job_id = 'freed';
