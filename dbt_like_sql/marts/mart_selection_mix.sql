{{ config(materialized='table') }}

with counts as (
    select
        decisions.selection,
        coalesce(documents.shard, '(none)') as shard,
        count(*) as pool_documents,
        count(*) filter (where decisions.is_selected) as selected_documents,
        cast(coalesce(sum(documents.n_bytes), 0) as bigint) as pool_bytes,
        cast(coalesce(sum(documents.n_bytes) filter (where decisions.is_selected), 0) as bigint) as selected_bytes
    from {{ ref('stg_decisions') }} as decisions
    left join {{ ref('stg_documents') }} as documents on decisions.doc_id = documents.doc_id
    group by 1, 2
),

shares as (
    select
        *,
        pool_documents / sum(pool_documents) over (partition by selection) as pool_share,
        selected_documents / nullif(sum(selected_documents) over (partition by selection), 0) as selected_share
    from counts
)

select
    *,
    selected_share / pool_share as lift
from shares
order by selection, shard
