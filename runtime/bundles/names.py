"""Names in a bundle: of its files, with their bounds, of its graphs' roles and precisions; and figures as text.

What only lists or completes models needs no more of a bundle than this, and starts sooner without the rest.
"""

import re
from typing import Final

MANIFEST: Final = "manifest.json"
# PyTorch's weights are half of a bundle, and only fine-tuning needs them: wheels leave them out.
WEIGHTS: Final = "model.safetensors"
CARD: Final = "README.md"
# What the model is, in a few lines: the Hub counts requests for it as downloads.
CONFIG: Final = "config.json"
# Over the manifest and all files that it names.
SIGNATURE: Final = "model.sig"
# Every bundle has a graph of each; a detector may be there besides.
ROLES: Final = ("encoder", "decoder", "prior")
DETECTOR: Final = "detector"
ALL_ROLES: Final = (*ROLES, DETECTOR)
# The precisions that a graph can have; lite is a smaller network that was taught to give what the graph gives.
PRECISIONS: Final = ("fp32", "fp16", "int8", "lite")
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 1 << 30
# What `provenance.source` says of networks that were not trained by a recipe.
OWN_MODULES: Final = "own modules"
PLAIN_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def is_plain_name(name: str) -> bool:
    """Whether `name` is a file name that cannot lead out of the bundle's folder."""
    return re.fullmatch(PLAIN_NAME, name) is not None


def metric_text(value: object) -> str:
    """A metric as people read it: four significant digits, and of a matrix from what to what its numbers are."""
    if isinstance(value, list):
        rows = [row for row in value if isinstance(row, list)]
        if numbers := [item for row in rows for item in row if isinstance(item, int | float)]:
            return f"{len(numbers):,} numbers from {metric_text(min(numbers))} to {metric_text(max(numbers))}"
        return "[" + ", ".join(map(metric_text, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {metric_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
