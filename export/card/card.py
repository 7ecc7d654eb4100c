"""The model card: a bundle's README.md, written from its manifest and its parity report alone."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aae_zoo.export.card.config import config
from aae_zoo.export.card.figures import METRIC_NAMES, PICTURES, VARIANT_METRICS, spread
from aae_zoo.export.card.metadata import arxiv, front_matter
from aae_zoo.export.card.usage import usage
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import CARD, CONFIG, metric_text
from aae_zoo.runtime.escapes import markdown, markdown_block

# One number or several, as `metric_text` gives them: no markup.
_NUMBERS: Final = re.compile(r"[-+.,0-9einfa \[\]]+")


def describing_files(manifest: Manifest, parity: Mapping[str, Any]) -> dict[str, str]:
    """The files of a bundle that say what it is, by name, from its manifest and its parity report."""
    return {CONFIG: config(manifest), CARD: model_card(manifest, parity)}


def model_card(manifest: Manifest, parity: Mapping[str, Any]) -> str:
    """The card in Markdown with the Hub's metadata; it shows the pictures that are among the manifest's files."""
    return (
        "\n\n".join(
            [
                front_matter(manifest),
                f"# {markdown(manifest.title)}",
                f"{markdown(manifest.description)}: **{manifest.name}** {manifest.version}, {_architecture(manifest)}.",
                _pictures(manifest),
                usage(manifest),
                _results(manifest),
                *_variants(manifest),
                _origin(manifest),
                _parity(parity),
                _limits(manifest),
            ]
        )
        + "\n"
    )


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The metrics with their full names, as texts: (name, value)."""
    named = [(METRIC_NAMES[key], metric_text(metrics[key])) for key in METRIC_NAMES if key in metrics]
    return [*named, *((name, metric_text(value)) for name, value in _moments(metrics))]


def _moments(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The largest differences of the codes' moments from the prior's; the manifest has all moments."""
    mean, covariance, prior = (metrics.get(name, []) for name in ("code_mean", "code_covariance", "prior_covariance"))
    off = [
        abs(a - b) for row, of_prior in zip(covariance, prior, strict=True) for a, b in zip(row, of_prior, strict=True)
    ]
    return [
        ("largest mean of a code's coordinate, in prior standard deviations", max(map(abs, mean))),
        *(
            [("largest deviation of the codes' covariance from the prior's, in prior variances", max(off))]
            if off
            else []
        ),
    ]


def _architecture(manifest: Manifest) -> str:
    parameters = metric_text(manifest.metrics["parameters"])
    return f"images {manifest.image}, {manifest.latent}-D code, parameters: {parameters}"


def _pictures(manifest: Manifest) -> str:
    return "\n\n".join(
        f"{caption}:\n\n![{name}]({name}.png)" for name, caption in PICTURES.items() if f"{name}.png" in manifest.files
    )


def _results(manifest: Manifest) -> str:
    rows = [f"| {name} | {_figure(value)} |" for name, value in metric_rows(manifest.metrics)]
    title = f"## Results on the test set of {markdown(manifest.dataset)}"
    table = [title, "", "| figure | value |", "|---|---|", *rows]
    if paper := manifest.metrics.get("paper"):
        name = METRIC_NAMES[paper["metric"]]
        if values := spread(manifest.metrics, paper["metric"]):
            table.append(f"| {name}, trained anew | {values} |")
        source, figure, differs = (markdown(str(paper[key])) for key in ("source", "figure", "differs"))
        table += ["", f"{source} gives {figure} for the {name}. What differs: {differs}."]
    return "\n".join(table)


def _figure(value: str) -> str:
    return value if _NUMBERS.fullmatch(value) else markdown(value)


def _variants(manifest: Manifest) -> list[str]:
    """The section on graphs of other precisions than float32, if the model has any."""
    variants = manifest.metrics.get("variants", {})
    names = [name for name in VARIANT_METRICS if any(name in found for found in variants.values())]
    lines = [
        "## Variants",
        "",
        "`load(name, precision=...)` and `--precision` run these graphs, and float32's where there is none. The",
        "figures are those of the test set with the variant; those in brackets float32's on the same draws.",
        "",
        f"| graph | bytes | {' | '.join(METRIC_NAMES[name] for name in names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for stem, found in variants.items():
        values = [_beside(found, name) for name in names]
        lines.append(f"| `{stem}.onnx` | {manifest.files[f'{stem}.onnx'].size:,} | {' | '.join(values)} |")
    return ["\n".join(lines)] if variants else []


def _beside(found: Mapping[str, Any], name: str) -> str:
    """A figure of a variant, with float32's in brackets if that was measured beside it."""
    if name not in found:
        return "-"
    plain = found.get("float32", {})
    return metric_text(found[name]) + (f" ({metric_text(plain[name])})" if name in plain else "")


def _origin(manifest: Manifest) -> str:
    """Where the networks are from."""
    return _training(manifest) if "recipe" in manifest.provenance else _own(manifest)


def _own(manifest: Manifest) -> str:
    """The section on networks that were trained elsewhere."""
    facts = manifest.provenance
    origin = f"\n\nWhere they are from: {markdown(facts['origin'])}." if facts["origin"] else ""
    classes = ", ".join(f"{role} {markdown(name)}" for role, name in facts["modules"].items())
    prior = f"; the prior is {facts['prior']}" if "prior" in facts else ""
    return f"""## Training

The networks were not trained with aae-zoo, which exported them as PyTorch modules: {classes}{prior}. The figures are of
images that came with them; nobody here knows whether these were among those of their training.{origin}

Exported with {_versions(facts)}."""


def _training(manifest: Manifest) -> str:
    facts, paper = manifest.provenance, arxiv(manifest)
    method = f"\n\nThe method: [arXiv:{paper}](https://arxiv.org/abs/{paper})." if paper else ""
    versions, machine = _versions(facts), markdown(str(facts["machine"]))
    processes = facts.get("processes", 1)
    threads = f"{facts['threads']} threads" + (f" in each of {processes} processes" if processes > 1 else "")
    where = (f"one {markdown(facts['device'])} and " if facts.get("device") else "") + f"{threads} ({machine})"
    # None where aae-zoo ran from no checkout.
    commit = f", at commit {markdown(str(facts['commit']))}" if facts["commit"] else ""
    return f"""## Training

Trained with aae-zoo on {where}, seed {facts["seed"]}{commit}, by this
command:

{markdown_block(facts["command"])}

with {versions}, and this recipe:

{markdown_block(facts["recipe"], "toml")}{method}{_beginning(facts)}"""


def _beginning(facts: Mapping[str, Any]) -> str:
    """The sentence on the model whose weights training began with, if there is one."""
    if not (began := facts.get("began_with")):
        return ""
    name, sha256 = markdown(f"{began['name']} {began['version']}"), markdown(str(began["manifest_sha256"]))
    new = f", apart from these layers, which began anew: {markdown(', '.join(began['new']))}" if began["new"] else ""
    return f"\n\nTraining began with the weights of {name} (the SHA-256 of its manifest is {sha256}){new}."


def _versions(facts: Mapping[str, Any]) -> str:
    return markdown(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))


def _parity(parity: Mapping[str, Any]) -> str:
    versions, largest = _versions(parity), max(row["error"] for row in parity["rows"])
    rows = [
        f"| {row['graph']} | {row['engine']} | {row['batch']} | {row['error']:.2g} | {row['float64']:.2g} "
        f"| {row['float64_allowed']:.2g} |"
        for row in parity["rows"]
    ]
    return "\n".join(
        [
            "## Parity with PyTorch",
            "",
            "<details>",
            f"<summary>{len(rows)} comparisons; the largest difference is {largest:.2g}</summary>",
            "",
            "Largest difference from PyTorch's float32 outputs, relative to max(1, largest output); the gate is "
            f"{parity['gates']['float32']:g}, and beside it |graph - float64| <= {parity['gates']['float64']}. "
            f"Seen with {versions}. `golden.npz` holds the inputs and outputs, and `aae-zoo verify` replays them.",
            "",
            "| graph | engine | batch | difference | from float64 | allowed |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            *_search(parity),
            "",
            *_through(parity),
            "",
            "</details>",
        ]
    )


def _search(parity: Mapping[str, Any]) -> list[str]:
    rows = [f"| {role} | {found['inputs']:,} | {found['error']:.2g} |" for role, found in parity["search"].items()]
    return [
        "A search for the worst input, which is the last row of each graph in `golden.npz`; the difference is relative "
        "to max(1, the row's largest output):",
        "",
        "| graph | inputs tried | largest difference |",
        "|---|---|---|",
        *rows,
    ]


def _through(parity: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {METRIC_NAMES[name]} | {figures['pytorch']:.7g} | {figures['onnxruntime']:.7g} |"
        for name, figures in parity["metrics"].items()
        if not isinstance(figures["pytorch"], list)
    ]
    return [
        "Figures of the test set, measured with both; `parity.json` has the codes' moments too:",
        "",
        "| figure | PyTorch | ONNX Runtime |",
        "|---|---|---|",
        *rows,
    ]


def _limits(manifest: Manifest) -> str:
    dataset = markdown(manifest.dataset)
    return f"""## Limits

The weights' licence is {markdown(manifest.licence) or "not stated"}, that of {dataset} \
{markdown(manifest.data_licence) or "not stated by its makers"}.

The model knows {dataset} and nothing else: other images are encoded and reconstructed as if they came \
from it. Weights in the graphs and in `model.safetensors` are rounded to values that float16 holds, and every figure \
above is that of the rounded weights; computation is in float32."""
