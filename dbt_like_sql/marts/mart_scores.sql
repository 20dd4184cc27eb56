{{ config(materialized='table') }}

with scores as (
    select 'density' as scorer, cast(null as varchar) as target, density as score
    from {{ source('lake', 'density_scores') }}
    union all
    select 'quality' as scorer, null as target, quality as score
    from {{ source('lake', 'quality_scores') }}
    union all
    select 'judge_margin_predicted' as scorer, null as target, judge_margin_predicted as score
    from {{ source('lake', 'quality_scores') }}
    union all
    select 'judge_margin' as scorer, null as target, margin as score
    from {{ source('lake', 'judge_scores') }}
    union all
    select 'bits_per_byte' as scorer, null as target, cast(bits_per_byte as double) as score
    from {{ source('lake', 'perplexity_scores') }}
    union all
    select 'transport_gradient' as scorer, target, transport_gradient as score
    from {{ ref('stg_transport_scores') }}
    union all
    select 'nearest_cost' as scorer, target, nearest_cost as score
    from {{ ref('stg_transport_scores') }}
    union all
    select 'pool_potential' as scorer, target, pool_potential as score
    from {{ source('lake', 'pool_potential_scores') }}
    union all
    select score as scorer, null as target, value as score
    from {{ source('lake', 'column_scores') }}
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
