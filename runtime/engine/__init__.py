"""ONNX Runtime: devices, sessions, open graphs and the jobs that they do. Nothing here checks what users give."""
