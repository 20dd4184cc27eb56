-- The best trial of each kind, target, model and size has place 1, and none is ahead of it; earlier ones by
-- themselves.
select
    kind,
    target,
    model,
    size,
    is_current
from {{ ref('mart_trials') }}
group by kind, target, model, size, is_current
having count(held_out_bits_per_byte) > 0 and (min(place) <> 1 or min(behind_best) <> 0)
