-- One row with both sums where they differ: rows of documents and rows in quarantine, counted twice.
with counted as (
    select
        coalesce(sum(places), 0) as places,
        coalesce(sum(quarantined), 0) as quarantined
    from {{ ref('mart_intake') }}
),

stored as (
    select
        (select count(*) from {{ source('lake', 'occurrences') }}) as places,
        (select coalesce(sum(coalesce(rows_lost, 1)), 0) from {{ source('lake', 'quarantine') }} where shard not like 'target/%' and shard not like 'stage/%' and reason <> 'still_being_written') as quarantined
)

select
    counted.places,
    stored.places as stored_places,
    counted.quarantined,
    stored.quarantined as stored_quarantined
from counted
cross join stored
where counted.places <> stored.places or counted.quarantined <> stored.quarantined
