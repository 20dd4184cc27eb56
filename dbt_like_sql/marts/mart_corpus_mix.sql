{{ config(materialized='table') }}

select
    coalesce(source, '(none)') as source,
    coalesce(licence, 'unknown') as licence,
    count(*) as documents,
    count(duplicate_of) as near_duplicates,
    cast(sum(n_bytes) as bigint) as n_bytes,
    count(*) / sum(count(*)) over () as document_share,
    sum(n_bytes) / nullif(sum(sum(n_bytes)) over (), 0) as byte_share
from {{ ref('stg_documents') }}
group by 1, 2
order by source, licence
