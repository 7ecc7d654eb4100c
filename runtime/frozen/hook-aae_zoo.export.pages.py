"""PyInstaller's hook of the pages: the files that a site is made of."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("aae_zoo.export.pages")
