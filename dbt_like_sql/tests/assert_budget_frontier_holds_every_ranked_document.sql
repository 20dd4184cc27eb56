with ranked as (
    select
        selection,
        count(*) as documents
    from {{ ref('stg_decisions') }}
    where rank is not null
    group by selection
),

frontier as (
    select
        selection,
        max(documents) as documents,
        max(step) as last_step
    from {{ ref('mart_budget_frontier') }}
    group by selection
)

select
    ranked.selection,
    ranked.documents,
    frontier.documents as on_frontier,
    frontier.last_step
from ranked
left join frontier on ranked.selection = frontier.selection
where frontier.documents is distinct from ranked.documents or frontier.last_step <> 100
