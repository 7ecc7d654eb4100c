"""PyInstaller's hook of the runtime: what a frozen program needs and no import statement tells."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

# The service needs packages of its own: a program that serves imports it, and PyInstaller sees that.
_LEFT_OUT = ("aae_zoo.runtime.serving", "aae_zoo.runtime.frozen")

# Names of the runtime are imported when they are first used.
hiddenimports = collect_submodules("aae_zoo.runtime", filter=lambda name: not name.startswith(_LEFT_OUT))
# The catalogue and the models. PyTorch's weights, which only a checkout has, are for training.
datas = collect_data_files("aae_zoo.runtime", excludes=["**/model.safetensors"]) + copy_metadata("aae-zoo")
