with best_target as (
    select
        target,
        doc_id,
        transport_gradient,
        nearest_cost,
        row_number() over (partition by doc_id order by transport_gradient, target) as place
    from {{ ref('stg_transport_scores') }}
)

select
    documents.doc_id,
    density.density,
    quality.quality,
    quality.judge_margin_predicted,
    judge.margin as judge_margin,
    cast(perplexity.bits_per_byte as double) as bits_per_byte,
    best_target.target as best_target,
    best_target.transport_gradient,
    best_target.nearest_cost
from {{ source('lake', 'documents') }} as documents
left join {{ source('lake', 'density_scores') }} as density on documents.doc_id = density.doc_id
left join {{ source('lake', 'quality_scores') }} as quality on documents.doc_id = quality.doc_id
left join {{ source('lake', 'judge_scores') }} as judge on documents.doc_id = judge.doc_id
left join {{ source('lake', 'perplexity_scores') }} as perplexity on documents.doc_id = perplexity.doc_id
left join best_target on documents.doc_id = best_target.doc_id and best_target.place = 1
