with parts as (
    select
        checkpoint,
        dimension,
        sum(documents) as documents
    from {{ ref('mart_checkpoint_provenance') }}
    group by checkpoint, dimension
),

agreeing as (
    select
        checkpoints.checkpoint,
        count(*) as dimensions
    from {{ ref('mart_checkpoints') }} as checkpoints
    inner join parts on checkpoints.checkpoint = parts.checkpoint and checkpoints.documents = parts.documents
    group by checkpoints.checkpoint
)

select
    checkpoints.checkpoint,
    checkpoints.documents,
    agreeing.dimensions
from {{ ref('mart_checkpoints') }} as checkpoints
left join agreeing on checkpoints.checkpoint = agreeing.checkpoint
where agreeing.dimensions is distinct from 3
