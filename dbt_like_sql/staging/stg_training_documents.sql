-- Every document that a checkpoint was trained on, with where it came from. Examples of a target need not
-- stand in the corpora; what was withdrawn or has left them keeps its id alone.
with examples as (
    select
        doc_id,
        min(source) as source
    from {{ source('lake', 'target_examples') }}
    group by doc_id
)

select
    trained_on.checkpoint,
    trials.model as base_model,
    trained_on.data,
    trained_on.doc_id,
    documents.shard,
    coalesce(documents.source, examples.source) as source,
    documents.licence,
    documents.n_bytes,
    documents.doc_id is not null as is_in_corpus,
    examples.doc_id is not null as is_target_example,
    withdrawals.doc_id is not null as is_withdrawn
from {{ source('lake', 'trained_on') }} as trained_on
left join {{ source('lake', 'trials') }} as trials on trained_on.checkpoint = trials.trial
left join {{ ref('stg_documents') }} as documents on trained_on.doc_id = documents.doc_id
left join examples on trained_on.doc_id = examples.doc_id
left join {{ source('lake', 'withdrawals') }} as withdrawals on trained_on.doc_id = withdrawals.doc_id
