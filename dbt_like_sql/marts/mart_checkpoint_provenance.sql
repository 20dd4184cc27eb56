{{ config(materialized='table') }}

with labelled as (
    select
        checkpoint,
        coalesce(shard, '(none)') as shard,
        coalesce(source, '(none)') as source,
        coalesce(licence, 'unknown') as licence,
        n_bytes
    from {{ ref('stg_training_documents') }}
)

select
    checkpoint,
    case
        when grouping(shard) = 0 then 'shard'
        when grouping(source) = 0 then 'source'
        else 'licence'
    end as dimension,
    coalesce(shard, source, licence) as label,
    count(*) as documents,
    cast(coalesce(sum(n_bytes), 0) as bigint) as n_bytes
from labelled
group by grouping sets ((checkpoint, shard), (checkpoint, source), (checkpoint, licence))
order by checkpoint, dimension, label
