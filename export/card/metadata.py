"""The Hub's metadata of a model card: what it searches and shows, as YAML before the Markdown."""

from collections.abc import Mapping
from typing import Final

from aae_zoo.runtime.bundles.manifest import Manifest

TASK: Final = "unconditional-image-generation"
# Data sets that the Hub has under another name than torchvision.
_ON_THE_HUB: Final = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "svhn": "ufldl-stanford/svhn",
}
_RESULTS: Final = ("mse", "mmd2", "frechet", "parzen", "error", "anomaly_auroc")


def front_matter(manifest: Manifest, names: Mapping[str, str]) -> str:
    """Licence, library, data set, tags and results of a manifest, `names` being those of its metrics.

    Written by the Hub client's own classes, which refuse what the Hub would not take.
    """
    from huggingface_hub import EvalResult, ModelCardData

    dataset, metrics = manifest.dataset, manifest.metrics
    on_the_hub = _ON_THE_HUB.get(dataset)
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Unconditional image generation",
            dataset_type=on_the_hub or dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type=key,
            metric_name=names[key],
            metric_value=metrics[key],
        )
        for key in _RESULTS
        if key in metrics
    ]
    data = ModelCardData(
        license=manifest.licence.lower(),
        library_name="aae-zoo",
        pipeline_tag=TASK,
        datasets=[on_the_hub] if on_the_hub else None,
        tags=["adversarial-autoencoder", "autoencoder", "generative-model", "onnx"],
        model_name=manifest.name,
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---"
