select
    target,
    doc_id,
    count(*) as scores
from {{ ref('stg_transport_scores') }}
group by target, doc_id
having count(*) > 1
