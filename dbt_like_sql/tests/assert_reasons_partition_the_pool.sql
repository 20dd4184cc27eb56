-- A warning: documents that have just arrived have no verdict until the selection is made again.
{{ config(severity='warn') }}

select
    selection,
    sum(documents) as decided,
    (select count(*) from {{ source('lake', 'documents') }}) as pool
from {{ ref('mart_reasons') }}
group by selection
having sum(documents) <> (select count(*) from {{ source('lake', 'documents') }})
