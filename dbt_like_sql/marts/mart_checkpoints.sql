{{ config(materialized='table') }}

select
    checkpoint,
    min(base_model) as base_model,
    min(data) as data,
    count(*) as documents,
    cast(coalesce(sum(n_bytes), 0) as bigint) as n_bytes,
    count(distinct shard) as shards,
    count(distinct source) as sources,
    string_agg(distinct licence, ', ' order by licence) as licences,
    count(*) filter (where coalesce(licence, 'unknown') = 'unknown') as without_licence,
    count(*) filter (where is_target_example) as target_examples,
    count(*) filter (where not is_in_corpus and not is_target_example) as gone,
    count(*) filter (where is_withdrawn) as withdrawn
from {{ ref('stg_training_documents') }}
group by checkpoint
order by checkpoint
