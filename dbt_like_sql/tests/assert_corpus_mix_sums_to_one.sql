select
    sum(document_share) as document_share,
    sum(byte_share) as byte_share
from {{ ref('mart_corpus_mix') }}
having abs(sum(document_share) - 1) > 1e-9 or abs(sum(byte_share) - 1) > 1e-9
