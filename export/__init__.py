"""From a checkpoint to a bundle: graphs, the parity gate, golden outputs, model card and catalogue."""

import aae_zoo.runtime  # sets what ONNX Runtime reads when it is imported
import aae_zoo.zoo  # noqa: F401 - and what OpenMP reads
