"""From a checkpoint to a bundle: graphs, the parity gate, golden outputs, model card and catalogue."""

import aae_zoo.runtime  # noqa: F401 - sets what ONNX Runtime reads when it is imported
