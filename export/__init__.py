"""From a checkpoint to a bundle: graphs, the parity gate, golden outputs, model card and catalogue."""
