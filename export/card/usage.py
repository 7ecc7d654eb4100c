"""How to use a model, as its card says it: with this package, without it, and in the browser."""

from typing import Final

from aae_zoo.runtime.bundles.manifest import Attribute, Manifest
from aae_zoo.runtime.escapes import markdown, shell_word

# Where the package that `pip install aae-zoo` fetches says what it is.
_PROJECT: Final = "https://pypi.org/project/aae-zoo/"


def usage(manifest: Manifest) -> str:
    """The card's section on use, from a manifest. Its programs draw images from the files of the bundle."""
    return "\n\n".join([_package(manifest), *_detector(manifest), _onnxruntime(manifest), _browser(manifest)])


def _package(manifest: Manifest) -> str:
    name, labels = manifest.name, manifest.labels
    of_label = (
        f"\naae-zoo sample {name} -n 64 -o label.png --label {shell_word(labels[-1])}"
        if manifest.label_coordinate is not None
        else ""
    )
    if manifest.attributes:
        asked = " ".join(f"--with {shell_word(f'{each.name}={each.labels[-1]}')}" for each in manifest.attributes[:2])
        of_label = f"\naae-zoo sample {name} -n 64 -o asked.png {asked}"
        of_label += f"\naae-zoo reconstruct {name} PICTURES -o redrawn.png {asked}"
    return f"""## Use

With [aae-zoo]({_PROJECT}), which needs no PyTorch:

```
pip install 'aae-zoo[cpu]'
aae-zoo sample {name} -n 64 -o samples.png{of_label}
```

```python
from aae_zoo.runtime import load

model = load("{name}")  # or this repository: load("ORG/NAME"), or a folder: load("./{name}")
images = model.sample(64, seed=0)
codes = model.encode(images)
```"""


def _detector(manifest: Manifest) -> list[str]:
    """The section on finding odd images, of a model that has a detector."""
    limits, (channels, height, width) = manifest.detector, manifest.image.axes
    if limits is None:
        return []
    return [
        f"""### To find odd images

```
aae-zoo score {manifest.name} pictures/ -o scores.csv --maps odd/
```

`detector.onnx` is all that it takes, in any language: it takes `image` [n, {channels}, {height}, {width}] in [0, 1] and
gives `score` [n], above 1 of which an image is odd, and `map` [n, 1, {height}, {width}], which is greatest where it is.
The scale is set on {limits.images:,} ordinary images that its networks were not trained on, so that
{100 * limits.false_alarms:.3g} % of such are above 1. No odd image was ever looked at."""
    ]


def _onnxruntime(manifest: Manifest) -> str:
    shape = ", ".join(map(str, manifest.image.axes))
    choice = "".join(
        f"\nCoordinate {a.coordinate} of `u` chooses {_what(a, manifest)} k as (k + uniform) / {len(a.labels)}."
        for a in manifest.asked
        if a.coordinate is not None
    )
    return f"""### Without this package

Uniform noise `u` [n, {manifest.noise}] in (0, 1) through `prior.onnx`, what comes out through `decoder.onnx`, and
`image` [n, {shape}] in [0, 1] comes out of that; `encoder.onnx` goes back.{choice}
The graphs' own metadata (prefix `aae_zoo.`) gives names, sizes and version. Beside the files of this repository:

```python
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it when it is imported
import numpy as np
import onnxruntime as ort

prior, decoder = (ort.InferenceSession(f"{{role}}.onnx") for role in ("prior", "decoder"))
u = np.random.default_rng(0).uniform(1e-6, 1 - 1e-6, (64, {manifest.noise})).astype(np.float32)
codes = dict(zip((output.name for output in prior.get_outputs()), prior.run(None, {{"u": u}})))
(images,) = decoder.run(None, codes)  # float32 [64, {shape}]
```"""


def _what(attribute: Attribute, manifest: Manifest) -> str:
    """What a coordinate chooses: a class, or an attribute's value, and which there are."""
    if not manifest.attributes:
        return "class"
    return f"{markdown(attribute.name)} ({', '.join(map(markdown, attribute.labels))})"


def _browser(manifest: Manifest) -> str:
    noise = manifest.noise
    return f"""### In the browser

```html
<canvas></canvas>
<script type="module">
  import * as ort from "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/ort.wasm.min.mjs";

  const open = (role) => ort.InferenceSession.create(`${{role}}.onnx`);
  const [prior, decoder] = [await open("prior"), await open("decoder")];
  const u = Float32Array.from({{ length: {noise} }}, () => 1e-6 + Math.random() * (1 - 2e-6));
  const codes = await prior.run({{ u: new ort.Tensor("float32", u, [1, {noise}]) }});
  const {{ image }} = await decoder.run(codes);
  const [, channels, height, width] = image.dims;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 4; c++)
      pixels.data[4 * i + c] = c === 3 ? 255 : 255 * image.data[(channels === 3 ? c : 0) * width * height + i];
  const canvas = Object.assign(document.querySelector("canvas"), {{ width, height }});
  canvas.getContext("2d").putImageData(pixels, 0, 0);
</script>
```"""
