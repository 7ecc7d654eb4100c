"""The data sets that aae-zoo builds, by their names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import is_there, output_errors
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.data.stored import usual_folder
from aae_zoo.zoo.drawings import avatars, emoji
from aae_zoo.zoo.parts import nearest_first

_BUILDERS: Final[Mapping[str, Callable[[Path], None]]] = {"avatars": avatars.build, "emoji": emoji.build}


def build(name: str, folder: Path | None = None) -> Path:
    """Build a data set in `folder`, by default where it is looked for in the user's cache: its file.

    One that is there and whole is left as it is; what an interrupted call has drawn is used.

    Raises:
        InvalidInput: there is no such data set to build.
        DatasetError: another file is in its place, or it has not become what it should be.
        MissingBackend: npm or Node.js is missing or fails.
        OutputError: it cannot be written.
    """
    builder = _BUILDERS.get(name)
    if builder is None:
        known = ", ".join(nearest_first(name, _BUILDERS))
        raise InvalidInput(f"there is no data set {name} to build, expected one of {known}")
    path = (folder or usual_folder(name)) / f"{name}.npz"
    with output_errors(path):
        built = is_there(path)
    if built:
        load_dataset(name, path.parent)
    else:
        builder(path)
    return path
