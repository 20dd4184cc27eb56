-- A loss that is not a number (a failed run) becomes null: it would otherwise sort above every number.
with planned_mixtures as (
    select run, source, weight from {{ source('lake', 'mixture_plan') }}
    union
    select run, source, weight from {{ source('lake', 'agreement_plan') }}
),

mixtures as (
    select
        run,
        string_agg(source || ' ' || cast(round(100 * weight) as integer) || ' %', ', ' order by weight desc, source)
            as data
    from planned_mixtures
    where weight > 0
    group by run
),

-- The mean over the targets, and null unless each of them was measured.
losses as (
    select
        run,
        string_agg(target, ', ' order by target) as target,
        case
            when count(case when not isnan(bits_per_byte) then 1 end) = count(*)
                then sum(bits_per_byte order by bits_per_byte) / count(*)
        end as bits_per_byte
    from {{ source('lake', 'mixture_losses') }}
    group by run
)

select
    trials.kind,
    trials.trial as name,
    trials.model,
    trials.target,
    trials.data,
    cast(null as bigint) as data_seed,
    trials.seed as training_seed,
    trials.seeds,
    trials.size as documents,
    trials.tokens,
    trials.steps,
    trials.flops,
    trials.seconds,
    trials.held_out_bits_per_byte as bits_per_byte,
    cast(null as varchar) as failure,
    recorded.checkpoint,
    recorded.mlflow_run
from {{ ref('stg_trials') }} as trials
inner join {{ source('lake', 'trials') }} as recorded on trials.trial = recorded.trial

union all

select
    'compared' as kind,
    run as name,
    cast(null as varchar) as model,
    cast(null as varchar) as target,
    sampler || ' ' || budget as data,
    data_seed,
    training_seed,
    cast(1 as bigint) as seeds,
    documents,
    tokens,
    cast(null as bigint) as steps,
    cast(null as double) as flops,
    seconds,
    case when not isnan(target_bits_per_byte) then target_bits_per_byte end as bits_per_byte,
    failure,
    cast(null as varchar) as checkpoint,
    cast(null as varchar) as mlflow_run
from {{ source('lake', 'sampler_trials') }}

union all

select
    'mixture' as kind,
    runs.run as name,
    runs.preset as model,
    losses.target,
    mixtures.data,
    cast(null as bigint) as data_seed,
    cast(null as bigint) as training_seed,
    cast(1 as bigint) as seeds,
    runs.documents,
    runs.tokens,
    runs.steps,
    runs.flops,
    runs.seconds,
    losses.bits_per_byte,
    runs.failure,
    runs.checkpoint,
    runs.mlflow_run
from {{ source('lake', 'mixture_runs') }} as runs
left join losses on runs.run = losses.run
left join mixtures on runs.run = mixtures.run

union all

-- Runs that measure the speed or search are measured on validation examples, so they have a target of their own.
select
    'recipe' as kind,
    run as name,
    model,
    case when part = 'guard' then target else target || ', validation' end as target,
    recipe || ', ' || case when part = 'rate' then 'speed' else part end
    || case when portion < 1 then ' at ' || cast(round(100 * portion) as integer) || ' %' else '' end
    || case when look > 0 then ' of look ' || look else '' end as data,
    seed as data_seed,
    seed as training_seed,
    cast(1 as bigint) as seeds,
    documents,
    tokens,
    cast(null as bigint) as steps,
    flop as flops,
    seconds,
    case when not isnan(bits_per_byte) then bits_per_byte end as bits_per_byte,
    failure,
    cast(null as varchar) as checkpoint,
    cast(null as varchar) as mlflow_run
from {{ source('lake', 'tune_runs') }}

union all

select
    'gain' as kind,
    run as name,
    preset as model,
    target,
    case when mixture = 'chosen' then 'recommended mixture' else 'natural shares' end as data,
    cast(null as bigint) as data_seed,
    pair as training_seed,
    cast(1 as bigint) as seeds,
    documents,
    tokens,
    cast(null as bigint) as steps,
    flop as flops,
    seconds,
    case when not isnan(bits_per_byte) then bits_per_byte end as bits_per_byte,
    failure,
    cast(null as varchar) as checkpoint,
    cast(null as varchar) as mlflow_run
from {{ source('lake', 'mixture_gain_runs') }}
