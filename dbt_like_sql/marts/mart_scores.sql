{{ config(materialized='table') }}

with scorers as (
    select unnest(['density', 'quality', 'judge_margin_predicted', 'judge_margin', 'bits_per_byte']) as scorer
),

-- Each row of scores once for every scorer: one pass over the joins of stg_scores.
scores as (
    select
        scorers.scorer,
        cast(null as varchar) as target,
        case scorers.scorer
            when 'density' then scores.density
            when 'quality' then scores.quality
            when 'judge_margin_predicted' then scores.judge_margin_predicted
            when 'judge_margin' then scores.judge_margin
            else scores.bits_per_byte
        end as score
    from {{ ref('stg_scores') }} as scores
    cross join scorers
    union all
    select 'transport_gradient' as scorer, target, transport_gradient as score
    from {{ ref('stg_transport_scores') }}
    union all
    select 'nearest_cost' as scorer, target, nearest_cost as score
    from {{ ref('stg_transport_scores') }}
),

pool as (
    select count(*) as documents from {{ source('lake', 'documents') }}
),

-- Decimals add up exactly: the last bits of a sum of doubles depend on the order of rows and threads.
distributions as (
    select
        scorer,
        target,
        count(score) as documents,
        avg(try_cast(score as decimal(38, 12))) as mean,
        min(score) as minimum,
        max(score) as maximum,
        quantile_cont(score, [0.05, 0.25, 0.5, 0.75, 0.95]) as quantiles
    from scores
    group by scorer, target
)

select
    distributions.scorer,
    distributions.target,
    distributions.documents,
    pool.documents - distributions.documents as missing,
    distributions.mean,
    distributions.minimum,
    distributions.quantiles[1] as p05,
    distributions.quantiles[2] as p25,
    distributions.quantiles[3] as median,
    distributions.quantiles[4] as p75,
    distributions.quantiles[5] as p95,
    distributions.maximum
from distributions
cross join pool
order by scorer, target
