{{ config(materialized='table') }}

select
    trial,
    kind,
    model,
    data,
    size,
    seed,
    parameters,
    zero_shot_bits_per_byte,
    held_out_bits_per_byte,
    improvement,
    case
        when held_out_bits_per_byte is not null
            then rank() over (partition by kind, model, size order by held_out_bits_per_byte asc nulls last)
    end as place,
    held_out_bits_per_byte - min(held_out_bits_per_byte) over (partition by kind, model, size) as behind_best,
    steps,
    tokens,
    flops,
    seconds,
    peak_memory_bytes
from {{ ref('stg_trials') }}
order by kind, model, size, place, trial
