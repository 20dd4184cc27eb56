select
    target,
    doc_id,
    transport_gradient,
    nearest_cost
from {{ source('lake', 'transport_scores') }}
