select
    selection,
    dimension,
    sum(pool_share) as pool_share,
    sum(selected_share) as selected_share
from {{ ref('mart_selection_mix') }}
group by selection, dimension
having abs(sum(pool_share) - 1) > 1e-9 or abs(sum(selected_share) - 1) > 1e-9
