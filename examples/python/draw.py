"""Draw a picture with a model of aae-zoo; numpy and onnxruntime are all that this needs.

    python draw.py [SEED [LABEL]]

reads prior.onnx and decoder.onnx where it is run, prints the numbers and writes picture.pgm (gray) or .ppm (colour).
"""
# Model: any of aae-zoo; what differs between models is read from the graphs.

import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported
import onnxruntime as ort


def noise(seed: int, size: int) -> np.ndarray:
    """Uniform in (0, 1): MurmurHash3's finaliser of a counter. Any generator will do; every example has this one."""
    x = (np.arange(1, size + 1, dtype=np.uint64) + seed * 0x9E3779B9).astype(np.uint32)
    x = (x ^ x >> 16) * np.uint32(0x85EBCA6B)
    x = (x ^ x >> 13) * np.uint32(0xC2B2AE35)
    return (((x ^ x >> 16) >> 9) * 2 + 1).astype(np.float32) / 2**24


seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
label = int(sys.argv[2]) if len(sys.argv) > 2 else None
prior, decoder = (ort.InferenceSession(f"{role}.onnx") for role in ("prior", "decoder"))

facts = prior.get_modelmeta().custom_metadata_map
channels, height, width = json.loads(facts["aae_zoo.image_shape"])
u = noise(seed, int(facts["aae_zoo.noise"]))
if label is not None:  # one coordinate of the noise chooses the class: the interval (k, k + 1) / classes is class k
    classes, coordinate = int(facts["aae_zoo.classes"]), facts["aae_zoo.label_coordinate"]
    if not coordinate or not 0 <= label < classes:
        sys.exit(f"{facts['aae_zoo.name']} has no label {label}; its labels are {facts['aae_zoo.labels']}")
    u[int(coordinate)] = (label + 0.5 + 0.99 * (float(u[int(coordinate)]) - 0.5)) / classes

names = [output.name for output in prior.get_outputs()]  # the prior's outputs are the decoder's inputs, by name
codes = dict(zip(names, prior.run(names, {"u": u[None]}), strict=True))
image = decoder.run(["image"], codes)[0][0]  # [channels, height, width], each in [0, 1]

for name, values in {"u": u, **codes, "mean": image.mean(), "middle": image[:, height // 2].ravel()}.items():
    print(name, *(f"{value:.6f}" for value in np.ravel(values)))
header = b"P%d %d %d 255\n" % (5 if channels == 1 else 6, width, height)
pixels = (image.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
Path("picture.pgm" if channels == 1 else "picture.ppm").write_bytes(header + pixels.tobytes())
