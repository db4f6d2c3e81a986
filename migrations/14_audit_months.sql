-- The audit trail is a table for each month, so that dropping a month costs nothing. Rows of a month that has no table
-- yet go to audit_default: no call ever fails because a table is missing.
--
-- The role of `serve` owns no table. So the functions that make and drop tables run with the rights of their owner.

set local lock_timeout = '2s';
lock table audit in access exclusive mode;

-- No index of its own: each partition has its primary key, in the order in which the trail of a session is read.
create table audit_by_month (
    -- The order of writing.
    audit_id    bigint generated always as identity,
    -- When it was done.
    audit_time  timestamptz not null default now(),
    -- The tenant of the session.
    tenant_id   uuid        not null,
    -- The session.
    session_id  uuid        not null,
    -- The document of the session.
    document_id uuid        not null,
    -- What was done; 'free': the bytes of a completed session were given up with its job.
    action      text        not null,
    -- Who did it, 'user:{oid}' or 'app:{appid}'; nobody when the session expired, or its job's retention had passed.
    actor       text,
    -- What authorized them: an access token, the capability of an upload URL, or nothing.
    credential  text        not null,
    -- The request that did it; nothing for the sweeper.
    request_id  text,
    constraint audit_action_check check (action in ('create', 'complete', 'cancel', 'expire', 'free')),
    constraint audit_credential_check check (credential in ('access-token', 'upload-url', 'none'))
) partition by range (audit_time);

do $$
declare
    until constant timestamptz := (
        select substring(pg_get_constraintdef(oid) from '''(.*)''')::timestamptz from pg_constraint
        where conrelid = 'audit'::regclass and conname = 'audit_before_check'
    );
    next_id bigint;
    granted record;
begin
    execute format('select last_value + 1 from %s', pg_get_serial_sequence('audit', 'audit_id')) into next_id;
    execute format('alter table audit_by_month alter column audit_id restart with %s', next_id);
    -- Who may use the table may use it from now on as well.
    for granted in
        select case when grantee = 0 then 'public' else grantee::regrole::text end as role, privilege_type,
               case when is_grantable then ' with grant option' else '' end as option
        from pg_class cross join lateral aclexplode(relacl) where oid = 'audit'::regclass
    loop
        execute format('grant %s on audit_by_month to %s%s', granted.privilege_type, granted.role, granted.option);
    end loop;
    alter table audit alter column audit_id drop identity;
    alter table audit rename to audit_before;
    alter table audit_before rename constraint audit_pkey to audit_before_pkey;
    alter table audit_by_month rename to audit;
    execute format('alter table audit attach partition audit_before for values from (minvalue) to (%L)', until);
    alter table audit_before drop constraint audit_before_check;
end $$;

create table audit_default partition of audit default;
alter table audit_default add constraint audit_default_pkey primary key (tenant_id, session_id, audit_id);
create index audit_default_time_idx on audit_default (audit_time);

-- The beginning of a month: 0 is the current one, 1 the next.
create function audit_month(ahead integer) returns timestamptz
language sql stable
as $$
    select (date_trunc('month', now() at time zone 'UTC') + ahead * interval '1 month') at time zone 'UTC'
$$;

-- The tables of the trail, without the default one. The first one has no beginning.
create function audit_tables() returns table (name text, from_time timestamptz, to_time timestamptz)
language sql stable
as $$
    select relname::text, substring(bound from 'FROM \(''([^'']*)''\)')::timestamptz,
           substring(bound from 'TO \(''([^'']*)''\)')::timestamptz
    from pg_inherits
    join pg_class on pg_class.oid = inhrelid
    cross join lateral pg_get_expr(relpartbound, inhrelid) as bound
    where inhparent = 'audit'::regclass and bound <> 'DEFAULT'
$$;

-- Makes the table of a month, unless there is one. Returns whether it did. Not if the default table has rows of that
-- month: they stay there. And not if the month has begun, or begins at once: a row of it that waits for the default
-- table meanwhile would be refused, since it does not belong there any more.
create function audit_add_month(ahead integer) returns boolean
language plpgsql security definer
as $$
declare
    since constant timestamptz := audit_month(ahead);
    until constant timestamptz := audit_month(ahead + 1);
    name constant text := 'audit_' || to_char(since at time zone 'UTC', 'YYYY_MM');
begin
    if ahead not between 1 and 24
       or since < now() + interval '10 seconds'
       or exists (select from audit_tables() where coalesce(from_time, '-infinity') <= since and since < to_time)
       or exists (select from audit_default where audit_time >= since and audit_time < until) then
        return false;
    end if;
    execute format('create table %I (like audit including constraints)', name);
    execute format(
        'alter table %I add constraint %I primary key (tenant_id, session_id, audit_id)', name, name || '_pkey'
    );
    -- Locks the trail against other changes of its form only. Rows are written meanwhile.
    execute format('alter table audit attach partition %I for values from (%L) to (%L)', name, since, until);
    return true;
end $$;

-- Drops one table whose rows are all older than the retention, or up to 1000 such rows of the default table. Returns
-- whether there may be more. Keeps at least 31 days.
create function audit_drop_before(retention interval) returns boolean
language plpgsql security definer
as $$
declare
    before constant timestamptz := now() - greatest(retention, interval '31 days');
    oldest constant text := (select name from audit_tables() where to_time <= before order by to_time limit 1);
    dropped bigint;
begin
    if oldest is not null then
        execute format('drop table %I', oldest);
        return true;
    end if;
    delete from audit_default
    where ctid = any (array(select ctid from audit_default where audit_time < before order by audit_time limit 1000));
    get diagnostics dropped = row_count;
    return dropped = 1000;
end $$;

do $$
declare
    role text;
    ahead integer;
    routine text;
begin
    for ahead in 1..4 loop
        perform audit_add_month(ahead);
    end loop;
    -- Only those who write the trail run these functions. Their names mean what they mean here, whoever calls.
    foreach routine in array array['audit_add_month(integer)', 'audit_drop_before(interval)'] loop
        execute format('alter function %s set search_path = %I, pg_temp', routine, current_schema());
        execute format('revoke execute on function %s from public', routine);
        for role in
            select distinct case when grantee = 0 then 'public' else grantee::regrole::text end
            from pg_class cross join lateral aclexplode(relacl)
            where oid = 'audit'::regclass and privilege_type = 'INSERT'
        loop
            execute format('grant execute on function %s to %s', routine, role);
        end loop;
    end loop;
end $$;
