"""The judge, as a resource: a deployment may replace it."""

import dagster as dg

from tamis.project import Project
from tamis.quality import AskLLM
from tamis.quality.judging import configured_judge
from tamis.trust import require_trusted


class JudgeResource(dg.ConfigurableResource):
    """Opens the judge that tamis.toml names, or another one with its prompt and limits."""

    def open(self, project: Project, model: str | None = None) -> AskLLM:
        """Return the judge; `model`: the one that a sampler names in place of the project's.

        Raises `UntrustedError`.
        """
        require_trusted(project)
        section = project.settings.judge
        return AskLLM(
            configured_judge(project) if model is None else project.model(model),
            prompt=section.prompt,
            batch_size=section.batch_size,
            max_tokens=section.max_tokens,
        )
