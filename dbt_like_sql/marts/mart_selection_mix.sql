{{ config(materialized='table') }}

with decided as (
    select
        decisions.selection,
        decisions.is_selected,
        coalesce(documents.shard, '(none)') as shard,
        coalesce(documents.source, '(none)') as source,
        coalesce(documents.licence, 'unknown') as licence,
        coalesce(documents.language, 'unknown') as language,
        documents.n_bytes
    from {{ ref('stg_decisions') }} as decisions
    left join {{ ref('stg_documents') }} as documents on decisions.doc_id = documents.doc_id
),

counts as (
    select
        selection,
        case
            when grouping(shard) = 0 then 'shard'
            when grouping(source) = 0 then 'source'
            when grouping(licence) = 0 then 'licence'
            else 'language'
        end as dimension,
        coalesce(shard, source, licence, language) as label,
        count(*) as pool_documents,
        count(*) filter (where is_selected) as selected_documents,
        cast(coalesce(sum(n_bytes), 0) as bigint) as pool_bytes,
        cast(coalesce(sum(n_bytes) filter (where is_selected), 0) as bigint) as selected_bytes
    from decided
    group by grouping sets ((selection, shard), (selection, source), (selection, licence), (selection, language))
),

shares as (
    select
        *,
        pool_documents / sum(pool_documents) over (partition by selection, dimension) as pool_share,
        selected_documents
        / nullif(sum(selected_documents) over (partition by selection, dimension), 0) as selected_share
    from counts
)

select
    *,
    selected_share / pool_share as lift
from shares
order by selection, dimension, label
