{{ config(materialized='table') }}

select
    selection,
    verdict,
    reason,
    detail,
    count(*) as documents,
    count(*) / sum(count(*)) over (partition by selection) as share
from {{ ref('stg_decisions') }}
group by selection, verdict, reason, detail
order by selection, verdict, reason, detail
