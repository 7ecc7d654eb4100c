"""The parity gate: exported graphs against PyTorch."""
