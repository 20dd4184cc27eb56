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
    method_score
from {{ source('lake', 'decisions') }}
