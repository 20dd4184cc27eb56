{{ config(materialized='table') }}

with chosen as (
    select
        doc_id,
        count(*) as selections
    from {{ source('lake', 'decisions') }}
    where verdict = 'selected'
    group by doc_id
),

withdrawn as (
    select
        withdrawals.receipt,
        withdrawals.scope,
        withdrawals.reason,
        withdrawals.withdrawn_at,
        withdrawals.doc_id,
        documents.doc_id is not null as is_stored,
        chosen.doc_id is not null as is_selected
    from {{ source('lake', 'withdrawals') }} as withdrawals
    left join {{ source('lake', 'documents') }} as documents on withdrawals.doc_id = documents.doc_id
    left join chosen on withdrawals.doc_id = chosen.doc_id
),

tainted as (
    select
        withdrawn.receipt,
        string_agg(distinct trained_on.checkpoint, ', ' order by trained_on.checkpoint) as checkpoints
    from withdrawn
    inner join {{ source('lake', 'trained_on') }} as trained_on on withdrawn.doc_id = trained_on.doc_id
    group by withdrawn.receipt
)

select
    withdrawn.receipt,
    coalesce(min(withdrawn.scope) filter (where withdrawn.scope <> 'excerpt'), 'excerpt') as scope,
    min(withdrawn.reason) as reason,
    min(withdrawn.withdrawn_at) as withdrawn_at,
    count(*) filter (where withdrawn.scope <> 'excerpt') as documents,
    count(*) filter (where withdrawn.scope = 'excerpt') as excerpts,
    count(*) filter (where withdrawn.is_stored) as still_stored,
    count(*) filter (where withdrawn.is_selected) as still_selected,
    min(tainted.checkpoints) as fine_tuned_or_pretrained
from withdrawn
left join tainted on withdrawn.receipt = tainted.receipt
group by withdrawn.receipt
order by receipt
