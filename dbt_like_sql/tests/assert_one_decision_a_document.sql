select
    selection,
    doc_id,
    count(*) as decisions
from {{ ref('stg_decisions') }}
group by selection, doc_id
having count(*) > 1
