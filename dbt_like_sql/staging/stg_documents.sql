-- A document may stand in many places; its first one (smallest shard, then row) counts as its home,
-- so that shards partition the corpus. Its licence is that of the first place that states one.
with places as (
    select
        doc_id,
        shard,
        shard_source,
        first_value(nullif(licence, 'unknown') ignore nulls) over (
            partition by doc_id
            order by shard, shard_row
            rows between unbounded preceding and unbounded following
        ) as licence,
        row_number() over (partition by doc_id order by shard, shard_row) as place,
        count(*) over (partition by doc_id) as occurrences
    from {{ ref('stg_occurrences') }}
)

select
    documents.doc_id,
    documents.n_chars,
    documents.n_bytes,
    documents.language,
    documents.first_seen,
    places.shard,
    places.shard_source as source,
    case when places.shard is not null then coalesce(places.licence, 'unknown') end as licence,
    coalesce(places.occurrences, 0) as occurrences,
    near_duplicates.kept as duplicate_of
from {{ source('lake', 'documents') }} as documents
left join places on documents.doc_id = places.doc_id and places.place = 1
left join {{ source('lake', 'near_duplicates') }} as near_duplicates on documents.doc_id = near_duplicates.doc_id
