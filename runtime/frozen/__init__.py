"""What PyInstaller is told of this package: where its hook is. Nothing here is part of a frozen program."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folders of hooks, which PyInstaller asks for by the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
