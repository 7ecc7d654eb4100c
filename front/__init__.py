"""aae-zoo: adversarial autoencoders that run without PyTorch.

    import aae_zoo
    model = aae_zoo.load("mnist-gauss")
    aae_zoo.grid(model.sample(64)).save("digits.png")

Every public name of `aae_zoo.runtime` is here too. Names are imported when they are first used, so that importing the
package takes no time.
"""

TYPE_CHECKING = False  # as type checkers know it: to import typing takes longer than all else here
if TYPE_CHECKING:
    from types import ModuleType

    from aae_zoo import runtime as runtime
    from aae_zoo.runtime import *  # noqa: F403 - its __all__ says which names

    __version__: str
else:  # hidden from type checkers, to whom a module with __getattr__ has every name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("aae-zoo")
        if name == "__all__" or not name.startswith("__"):
            runtime = _runtime()
            if name == "runtime":
                return runtime
            if name == "__all__" or name in runtime.__all__:
                return getattr(runtime, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_runtime().__all__, "__version__"]


def _runtime() -> "ModuleType":
    import aae_zoo.runtime  # `from aae_zoo import runtime` would ask this module for it, without end

    return aae_zoo.runtime
