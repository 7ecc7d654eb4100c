#!/bin/sh
# Everything that needs an NVIDIA GPU, in some minutes, as one table:
#   sh tests/gpu/check.sh [--json FILE] [--only GROUP]...
# PYTHON is the Python to use, by default python3; aae_zoo and a GPU wheel of ONNX Runtime must be on its path, and for
# the rows of training PyTorch and MNIST (AAE_ZOO_DATA). Exit status: 0 if every row holds, 1 if not, 3 without a GPU.
exec "${PYTHON:-python3}" "$(dirname "$0")/check.py" "$@"
