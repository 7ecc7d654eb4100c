"""PyInstaller's hook of `aae-zoo embed`: the examples that it writes, of which those in Python are data here too."""

from PyInstaller.utils.hooks import collect_data_files

hiddenimports = ["aae_zoo.examples"]
datas = collect_data_files("aae_zoo.examples", include_py_files=True)
