"""Embedding: texts become vectors of length 1, by a static model, the embedded MiniLM or any other.

`encoder_identity` names what a vector depends on without loading a model; `load_encoder` gives the model.
"""

from tamis.embedding.encoder import Encoder, encode_each, load_encoder
from tamis.embedding.identity import CODE_VERSION, EncoderUnavailableError, encoder_identity

__all__ = [
    "CODE_VERSION",
    "Encoder",
    "EncoderUnavailableError",
    "encode_each",
    "encoder_identity",
    "load_encoder",
]
