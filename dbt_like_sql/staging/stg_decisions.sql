-- A choice that waits for approval, or whose section left tamis.toml, may name documents that have left the
-- corpora since; they are left out here. mart_withdrawals reads them all.
select
    selection,
    doc_id,
    verdict,
    verdict = 'selected' as is_selected,
    reason,
    detail,
    rank,
    margin,
    duplicate_of,
    transport_gradient,
    quality,
    judge_margin_predicted,
    density,
    nearest_cost,
    bits_per_byte,
    gradient_away,
    own_score,
    method_score
from {{ source('lake', 'decisions') }}
where doc_id in (select documents.doc_id from {{ source('lake', 'documents') }} as documents)
