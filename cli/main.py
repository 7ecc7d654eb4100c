"""The command `aae-zoo`: its commands, and how errors end it."""

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from aae_zoo.cli import completion
from aae_zoo.cli.printing import say
from aae_zoo.runtime.errors import AaeZooError, Interrupted, reinstalling
from aae_zoo.runtime.escapes import line, note

# The commands in the groups that `--help` shows, each with its module of this folder. Only that of the command which is
# asked for is imported: all of them take longer than what `list` has to do.
_GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Look": {
        "list": "models",
        "info": "models",
        "verify": "checks",
        "check": "checks",
        "bench": "checks",
        "doctor": "models",
        "cache": "hub",
    },
    "Use": {
        "pull": "hub",
        "sample": "images",
        "encode": "images",
        "decode": "images",
        "reconstruct": "images",
        "interpolate": "images",
        "traverse": "images",
        "manifold": "images",
        "nearest": "images",
        "score": "images",
        "drift": "images",
    },
    "Train": dict.fromkeys(("make", "detector", "data", "train", "evaluate", "judge", "distil", "export"), "training"),
    "Ship": {
        "explore": "programs",
        "embed": "programs",
        "serve": "programs",
        "export-triton": "programs",
        "sign": "hub",
        "publish": "hub",
    },
}


class _Groups(TyperGroup):
    """Shows the commands in their groups."""

    def get_params(self, ctx: Any) -> Any:
        """The options; --show-completion works, and leaves its line of the help to a command."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name == "show_completion":
                vars(parameter)["hidden"] = True
        return parameters

    def format_help_text(self, ctx: object, formatter: Any) -> None:  # noqa: ARG002 - typer gives both
        """What aae-zoo is, right under the usage: all commands have to fit on one screen."""
        with formatter.indentation():
            formatter.write_text(self.help)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, with no empty line before them, and the commands."""
        formatter.write_heading("Options")
        with formatter.indentation():
            formatter.write_dl([record for each in self.get_params(ctx) if (record := each.get_help_record(ctx))])
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: object, formatter: Any) -> None:  # noqa: ARG002 - typer gives both
        width = max(map(len, self.commands))
        for group, names in _GROUPS.items():
            formatter.write_heading(group)
            # Whole sentences, which write_dl breaks where a terminal is narrow.
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit=1_000)) for name in names]
            with formatter.indentation():
                formatter.write_dl(rows)


def _show_version(show: bool) -> None:
    if show:
        from importlib.metadata import version  # slow to import, and nothing else needs it

        say(f"aae-zoo {version('aae-zoo')}")
        raise typer.Exit


def _root(
    version_: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def command_line(asked: str) -> typer.Typer:
    """All commands, or only the one that is asked for: typer takes 10 ms to prepare them all."""
    app = typer.Typer(
        cls=_Groups,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Adversarial autoencoders that people can deploy. Try: aae-zoo sample --show",
        add_completion=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    places = {name: module for group in _GROUPS.values() for name, module in group.items()}
    for name in [asked] if asked in places else places:
        app.command(name=name)(_function(places[name], name))
    return app


def _function(module: str, command: str) -> Callable[..., None]:
    """The function of a command: `export_triton` for export-triton, `list_` for list, whose own name Python has."""
    name = command.replace("-", "_")
    functions = vars(import_module(f"aae_zoo.cli.{module}"))
    function: Callable[..., None] = functions.get(name) or functions[f"{name}_"]
    return function


def main() -> None:
    """Run the command line; a foreseen error is one sentence on stderr and exit status 1, a warning one sentence.

    After Ctrl-C the status is 130, as after all signals 128 and their number.
    """
    _open_what_is_closed()
    _end_in_order()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have characters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"{line(f'warning: {message}')}\n"
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of files of which our own sentences say what is wrong
    if completion.in_bash():
        completion.join_words()
    try:
        _check_where_we_are()
        _check_no_empty_value(sys.argv[1:])
        command_line(next(iter(sys.argv[1:]), ""))(prog_name="aae-zoo")
    except Interrupted as error:
        _fail(str(error), 128 + signal.SIGINT)
    except KeyboardInterrupt:  # while commands are imported; from then on typer does the same
        sys.exit(128 + signal.SIGINT)
    except AaeZooError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("aae_zoo"):
            raise
        install = reinstalling("pip install 'aae-zoo[cpu,train]'")
        _fail(f"{error.name} is not installed, which training and export need; {install}")
    except ImportError as error:
        package = (error.name or "aae_zoo").partition(".")[0]
        if package == "aae_zoo":
            raise
        mend = reinstalling(f"pip install -U {_distribution(package)}")
        _fail(f"{package} cannot be imported, it may be too old ({error.msg.partition(' (')[0]}); {mend}")
    except MemoryError as error:
        _fail(f"there is not enough memory ({error}); ask for less at a time")
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; nothing is left to say
        sys.exit(1)
    except OSError as error:
        _fail(f"the system refused: {error}")


def _open_what_is_closed() -> None:
    """Give what was closed for this process (>&-) to nobody: else print would take stdout for a closed stderr."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as we live


def _check_where_we_are() -> None:
    """Refuse to run in a folder that was removed: libraries fail in it in their own ways, PyTorch's without a word."""
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail("the folder you are in was removed; go to another, as cd does")


def _check_no_empty_value(arguments: list[str]) -> None:
    """Refuse an option with nothing, as a variable of the shell that is not set: it would be none, or this folder."""
    apart = [option for option, value in pairwise(arguments) if option.startswith("-") and not value]
    joined = [text[:-1] for text in arguments if text.startswith("--") and text.find("=") == len(text) - 1]
    for option in apart + joined:
        _fail(f"what follows {option} is empty; give a value, or leave {option} out")


def _end_in_order() -> None:
    """Have SIGTERM, and a terminal that is closed, take away what is half-written before they end this process."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has one of them
        if number and signal.getsignal(number) is signal.SIG_DFL:  # nohup has one ignored
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _distribution(package: str) -> str:
    """What pip calls what is imported as `package`."""
    from importlib.metadata import packages_distributions  # slow, and nothing else needs it

    return packages_distributions().get(package, [package])[0]


def _fail(message: str, status: int = 1) -> NoReturn:
    note(f"error: {message}")
    sys.exit(status)


if __name__ == "__main__":  # accelerate launch -m aae_zoo.cli.main train ...
    main()
