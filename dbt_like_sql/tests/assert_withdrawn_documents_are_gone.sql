select
    receipt,
    still_stored,
    still_selected
from {{ ref('mart_withdrawals') }}
where still_stored > 0 or still_selected > 0
