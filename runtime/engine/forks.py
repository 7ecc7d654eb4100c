"""Forked processes: a child has its parent's memory but not its threads, so a session of the parent is of no use there.

It cannot be freed there either: ONNX Runtime would wait for threads that do not exist, or end the process.
"""

import ctypes
import os
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class HasSessions(Protocol):
    """What owns sessions, and can do without them."""

    def after_fork(self) -> None:
        """Called in a forked child: drop the parent's sessions, each with `never_free`, and open new ones on need."""


_OWNERS: Final[WeakSet[HasSessions]] = WeakSet()


def call_after_forks(owner: HasSessions) -> None:
    """Call `owner.after_fork()` in every child that this process forks, for as long as the owner lives."""
    _OWNERS.add(owner)


def never_free(session: "InferenceSession") -> None:
    """Keep a session of the parent's in memory for good."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def _in_child() -> None:
    owners = list(_OWNERS)
    for owner in owners:
        owner.after_fork()
    if owners:
        _leave_without_clean_up()


def _leave_without_clean_up() -> None:
    """Let a child that ends as programs usually do skip ONNX Runtime's clean-up, which would wait forever.

    Children of multiprocessing skip it anyway. glibc calls what `on_exit` registers last first, with the exit status.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)
        libc.on_exit(libc.fcloseall, None)  # files of C are written out before


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
