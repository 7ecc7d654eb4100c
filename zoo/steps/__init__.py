"""The steps of training: what each looks up, its rates and its losses, and all of it as one CUDA graph."""
