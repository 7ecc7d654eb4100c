"""Programs that draw with a model, without this package; `aae-zoo embed` writes them out."""
