"""Draw a picture with the model beside this file.

    python draw.py [SEED [LABEL | NAME=VALUE ...]]

prints the numbers, and writes picture.png where it is run.
"""

import re
import sys
from pathlib import Path

import numpy as np
from model import Model, png

seed = sys.argv[1] if len(sys.argv) > 1 else "0"
if not re.fullmatch("0*[0-9]{1,10}", seed) or int(seed) >= 2**32:
    sys.exit(f"the seed is {seed}, expected a whole number from 0 to {2**32 - 1}")
asked = dict(text.split("=", 1) if "=" in text else ["label", text] for text in sys.argv[2:])
model = Model()
try:
    u = model.noise(seed=int(seed), attributes=asked)
except ValueError as error:
    sys.exit(str(error))
codes = model.codes(u)
images = model.decode(codes)
encoded = {**codes, **model.encode(images)}  # y stays where no encoder tells it
redrawn = model.decode(encoded)

row = model.shape[1] // 2
drawing = {"u": u, **codes, "mean": images.mean(), "middle": images[0, :, row]}
scores = model.score(images) if model.detects else {}
scored = {"score": scores["score"], "odd": scores["map"][0, 0, row]} if scores else {}
for name, values in {**drawing, "encoded": encoded["z"], "redrawn": redrawn[0, :, row], **scored}.items():
    print(name, *(f"{value:.6f}" for value in np.ravel(values)))
Path("picture.png").write_bytes(png(images[0]))
