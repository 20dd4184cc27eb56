{{ config(materialized='incremental', unique_key='shard') }}

-- What a shard brought never changes with the arrival of another one, so only new shards are counted.
with places as (
    select
        shard,
        count(*) as places,
        count(distinct doc_id) as documents,
        count(distinct shard_source) as sources,
        count(distinct licence) filter (where licence <> 'unknown') as licences,
        count(*) filter (where licence = 'unknown') as without_licence
    from {{ ref('stg_occurrences') }}
    {% if is_incremental() %}
    where shard not in (select shard from {{ this }})
    {% endif %}
    group by shard
),

refused as (
    select
        shard,
        cast(sum(coalesce(rows_lost, 1)) as bigint) as quarantined
    from {{ source('lake', 'quarantine') }}
    where shard not like 'target/%' and shard not like 'stage/%'
    and reason <> 'still_being_written'  -- a note of a file that waits, which has brought nothing yet
    {% if is_incremental() %}
    and shard not in (select shard from {{ this }})
    {% endif %}
    group by shard
)

select
    coalesce(places.shard, refused.shard) as shard,
    coalesce(places.places, 0) as places,
    coalesce(places.documents, 0) as documents,
    coalesce(places.sources, 0) as sources,
    coalesce(places.licences, 0) as licences,
    coalesce(places.without_licence, 0) as without_licence,
    coalesce(refused.quarantined, 0) as quarantined
from places
full join refused on places.shard = refused.shard
order by shard
