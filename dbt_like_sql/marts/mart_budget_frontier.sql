{{ config(materialized='table') }}

-- Eligible documents in the order of their rank, in a hundred steps of equal width; the steps of a selection
-- that repeats an earlier version are smaller where documents of that version are gone.
with reach as (
    select
        selection,
        max(rank) as last_rank
    from {{ ref('stg_decisions') }}
    group by selection
),

ranked as (
    select
        decisions.selection,
        (decisions.rank * 100 + reach.last_rank - 1) // reach.last_rank as step,
        decisions.rank,
        decisions.is_selected,
        decisions.margin,
        coalesce(documents.n_bytes, 0) as n_bytes,
        -- Decimals add up exactly, in any order.
        try_cast(decisions.transport_gradient as decimal(38, 12)) as transport_gradient,
        try_cast(quality.quality as decimal(38, 12)) as quality
    from {{ ref('stg_decisions') }} as decisions
    inner join reach on decisions.selection = reach.selection
    left join {{ source('lake', 'documents') }} as documents on decisions.doc_id = documents.doc_id
    left join {{ source('lake', 'quality_scores') }} as quality on decisions.doc_id = quality.doc_id
    where decisions.rank is not null
),

steps as (
    select
        selection,
        step,
        count(*) as documents,
        count(*) filter (where is_selected) as selected_documents,
        sum(n_bytes) as n_bytes,
        max(rank) as last_rank,
        min(margin) as margin,
        sum(transport_gradient) as transport_gradient,
        count(transport_gradient) as with_gradient,
        sum(quality) as quality,
        count(quality) as with_quality
    from ranked
    group by 1, 2
)

select
    selection,
    step,
    cast(sum(documents) over up_to_here as bigint) as documents,
    cast(sum(selected_documents) over up_to_here as bigint) as selected_documents,
    cast(sum(n_bytes) over up_to_here as bigint) as n_bytes,
    last_rank,
    margin,
    transport_gradient / nullif(with_gradient, 0) as step_transport_gradient,
    quality / nullif(with_quality, 0) as step_quality,
    sum(transport_gradient) over up_to_here
    / nullif(sum(with_gradient) over up_to_here, 0) as mean_transport_gradient,
    sum(quality) over up_to_here / nullif(sum(with_quality) over up_to_here, 0) as mean_quality,
    selected_documents = documents as is_within_budget
from steps
window up_to_here as (partition by selection order by step)
order by selection, step
