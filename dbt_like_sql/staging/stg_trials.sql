-- A loss that is not a number (a failed run) becomes null: it would otherwise sort above every number.
with trials as (
    select
        trial,
        model,
        kind,
        data,
        size,
        seed,
        case when not isnan(zero_shot_bits_per_byte) then zero_shot_bits_per_byte end as zero_shot_bits_per_byte,
        case when not isnan(held_out_bits_per_byte) then held_out_bits_per_byte end as held_out_bits_per_byte,
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
        peak_memory_bytes,
        parameters,
        trainable_parameters
    from {{ source('lake', 'trials') }}
)

select
    trials.*,
    trials.zero_shot_bits_per_byte - trials.held_out_bits_per_byte as improvement,
    coalesce(trial_targets.target, case when trials.kind in ('law', 'direct') then trials.data end) as target,
    current_trials.trial is not null as is_current
from trials
left join {{ source('lake', 'current_trials') }} as current_trials on trials.trial = current_trials.trial
left join {{ source('lake', 'trial_targets') }} as trial_targets on trials.trial = trial_targets.trial
