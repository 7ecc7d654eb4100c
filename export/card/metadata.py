"""The Hub's metadata of a model card: what it searches and shows, as YAML before the Markdown."""

from typing import Final

from aae_zoo.export.card.config import LIBRARY, objective
from aae_zoo.export.card.figures import METRIC_NAMES
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import OWN_MODULES
from aae_zoo.runtime.store.hub import check_settings

TASK: Final = "unconditional-image-generation"
_RESULTS: Final = ("mse", "mmd2", "frechet", "parzen", "error", "anomaly_auroc")


def arxiv(manifest: Manifest) -> str | None:
    """The number on arXiv of the paper whose method a model was trained with, if it is there."""
    from aae_zoo.zoo.parts import kinds, load_part

    kind = objective(manifest)
    number: str | None = load_part("objectives", kind).ARXIV if kind in kinds("objectives") else None
    return number


def _arxiv_tags(manifest: Manifest) -> list[str]:
    number = arxiv(manifest)
    return [f"arxiv:{number}"] if number else []


def front_matter(manifest: Manifest) -> str:
    """Licence, library, data set, tags and results of a manifest.

    Written by the Hub client's own classes, which refuse what the Hub would not take.
    """
    check_settings()
    from huggingface_hub import EvalResult, ModelCardData

    from aae_zoo.zoo.data.loading import declarations  # loads PyTorch, which pages do without

    dataset, metrics = manifest.dataset, manifest.metrics
    declared = declarations().get(dataset)
    on_the_hub = declared.HUB_NAME if declared else None
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Unconditional image generation",
            dataset_type=on_the_hub or dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type=key,
            metric_name=METRIC_NAMES[key],
            metric_value=metrics[key],
        )
        for key in _RESULTS
        if key in metrics
    ]
    trained_here = [] if manifest.provenance.get("source") == OWN_MODULES else ["adversarial-autoencoder"]
    data = ModelCardData(
        license=manifest.licence.lower() or None,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        datasets=[on_the_hub] if on_the_hub else None,
        tags=[*trained_here, "autoencoder", "generative-model", "onnx", *_arxiv_tags(manifest)],
        model_name=manifest.name,
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---"
