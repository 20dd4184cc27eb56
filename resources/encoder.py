"""The encoder of documents and target examples, as a resource: a deployment may replace it."""

import dagster as dg

from tamis.embedding import Encoder, load_encoder
from tamis.project import Project


class EncoderResource(dg.ConfigurableResource):
    """Opens the encoder that tamis.toml names.

    Input keys name that one, so what replaces it has to give its vectors, and its name and fingerprint.
    """

    def open(self, project: Project) -> Encoder:
        """Return the encoder, loaded."""
        return load_encoder(project.model(project.settings.encoder.name), cache=project.home.cache)
