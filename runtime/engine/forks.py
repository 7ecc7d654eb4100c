"""Forked processes: a child has its parent's memory but not its threads, so a session of the parent is of no use there.

Nor may it be freed there: ONNX Runtime would wait for threads that are not there, or end the process.
"""

import ctypes
import os
import threading
from typing import Any, Final
from weakref import WeakSet

_OWNERS: Final[WeakSet[Any]] = WeakSet()


def forget_sessions_in_children(owner: Any) -> None:
    """Let `owner` open its graphs (`_graphs`, guarded by `_lock`) anew in every child that this process forks."""
    _OWNERS.add(owner)


def _in_child() -> None:
    owners = list(_OWNERS)
    for owner in owners:
        for graph in owner._graphs.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(graph.session))  # never freed
        owner._graphs = {}
        owner._lock = threading.Lock()  # another thread of the parent may have held it
    if owners:
        _leave_without_clean_up()


def _leave_without_clean_up() -> None:
    """Let a child that ends as programs do skip ONNX Runtime's clean-up, which would wait for ever.

    Children of multiprocessing skip it anyway. glibc calls what `on_exit` registers last first, with the exit status.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)
        libc.on_exit(libc.fcloseall, None)  # files of C are written out before


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
