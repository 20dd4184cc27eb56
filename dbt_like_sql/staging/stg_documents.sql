-- A document may stand in many places; its first one (smallest shard, then row) counts as its home,
-- so that shards and licences partition the corpus.
with first_places as (
    select
        doc_id,
        count(*) as occurrences,
        min(shard) as shard,
        arg_min(shard_source, row(shard, shard_row)) as source,
        arg_min(licence, row(shard, shard_row)) as licence
    from {{ ref('stg_occurrences') }}
    group by doc_id
)

select
    documents.doc_id,
    documents.n_chars,
    documents.n_bytes,
    documents.language,
    documents.first_seen,
    places.shard,
    places.source,
    places.licence,
    coalesce(places.occurrences, 0) as occurrences,
    near_duplicates.kept as duplicate_of
from {{ source('lake', 'documents') }} as documents
left join first_places as places on documents.doc_id = places.doc_id
left join {{ source('lake', 'near_duplicates') }} as near_duplicates on documents.doc_id = near_duplicates.doc_id
