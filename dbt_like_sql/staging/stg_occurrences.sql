select
    doc_id,
    shard,
    "row" as shard_row,
    source as shard_source,
    coalesce(licence, 'unknown') as licence
from {{ source('lake', 'occurrences') }}
