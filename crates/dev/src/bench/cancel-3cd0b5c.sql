-- The cancel of one session as it was at commit 3cd0b5c, for pgbench. It stays as it was: a statement that has become
-- cheaper since then counts.
--
-- Every client has its own counter and takes every 64th session, in the order in which the sessions were created, so
-- that no two clients cancel the same one. The id is made of the number: that costs Postgres less than a look-up in a
-- table of ids.
\set i :i + 1
\set n FIRST_TIME + :first + (:i - 1) * :clients + :client_id
with locked as (
    select tenant_id, session_id, expire_time
    from upload_session
    where tenant_id = 'TENANT'::uuid
      and session_id = (lpad(to_hex(:n::bigint), 12, '0') || 'REST_OF_ID')::uuid and state = 'active'
    for no key update
), live as (
    -- Above the lock: below it Postgres would ask the clock before it waits.
    select tenant_id, session_id, expire_time <= clock_timestamp() as due from locked
), ended as (
    update upload_session s
    set state      = case when due then 'expired' else 'canceled' end,
        end_time   = case when due then expire_time else now() end,
        ended_by   = case when not due then 'user:OWNER' end,
        end_reason = case when due then 'expired' else 'deleted' end
    from live where (s.tenant_id, s.session_id) = (live.tenant_id, live.session_id)
    returning s.tenant_id, s.session_id, s.document_id, not due as canceled
), queued as (
    insert into reclaim (tenant_id, session_id, final_time)
    select tenant_id, session_id, now() + interval '11 minutes' from ended
), audited as (
    insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
    select tenant_id, session_id, document_id, case when canceled then 'cancel' else 'expire' end,
           case when canceled then 'user:OWNER' end, case when canceled then 'access-token' else 'none' end,
           case when canceled then '019ac0de-0000-7000-8000-000000000000' end
    from ended
)
select canceled from ended;
