select *
from {{ ref('stg_scores') }}
where
    not isfinite(density)
    or not isfinite(quality)
    or not isfinite(judge_margin_predicted)
    or not isfinite(judge_margin)
    or not isfinite(bits_per_byte)
    or not isfinite(transport_gradient)
    or not isfinite(nearest_cost)
