{{ config(materialized='table') }}

select
    trial,
    kind,
    model,
    data,
    target,
    size,
    seed,
    is_current,
    parameters,
    trainable_parameters,
    zero_shot_bits_per_byte,
    held_out_bits_per_byte,
    improvement,
    case
        when held_out_bits_per_byte is not null
            then rank() over (
                partition by kind, target, model, size, is_current
                order by held_out_bits_per_byte asc nulls last
            )
    end as place,
    held_out_bits_per_byte - min(held_out_bits_per_byte) over (
        partition by kind, target, model, size, is_current
    ) as behind_best,
    held_out_low,
    held_out_high,
    warm_up_bits_per_byte,
    held_out_loss,
    accuracy,
    accuracy_low,
    accuracy_high,
    macro_f1,
    macro_f1_low,
    macro_f1_high,
    majority_accuracy,
    seeds,
    steps,
    tokens,
    flops,
    seconds,
    evaluation_flops,
    evaluation_seconds,
    peak_memory_bytes
from {{ ref('stg_trials') }}
order by kind, target, model, size, is_current desc, place, trial
