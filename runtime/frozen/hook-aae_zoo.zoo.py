"""PyInstaller's hook of training: the parts that recipes name, the recipes, and the classifiers that measure."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules("aae_zoo.zoo")
datas = collect_data_files("aae_zoo.zoo")
