"""openat2(2), which Python does not have: a folder far below another one in one call, and through no link."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

# The number is the same on every architecture. Source: the kernel's unistd.h and openat2.h.
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(
    os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
    0,
    _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
)
_HOW_POINTER = ctypes.byref(_HOW)
_HOW_SIZE = ctypes.sizeof(_HOW)
_syscall = ctypes.CDLL(None, use_errno=True).syscall

# What a kernel before 5.6, or a sandbox that does not know the call, answers.
_MISSING = {errno.ENOSYS, errno.EPERM}


class CallMissingError(Exception):
    """The kernel, or a sandbox around this process, does not have openat2(2)."""


def open_below(folder: int, names: Sequence[str]) -> int:
    """A descriptor of the folder that is reached by `names` (one or more) from another one.

    Raises FileNotFoundError, NotADirectoryError, OSError (ELOOP at a link), CallMissingError.
    """
    path = "/".join(names).encode()
    descriptor: int = _syscall(_OPENAT2, folder, path, _HOW_POINTER, _HOW_SIZE)
    if descriptor >= 0:
        return descriptor
    error = ctypes.get_errno()
    if error in _MISSING:
        raise CallMissingError
    raise OSError(error, os.strerror(error), path.decode())
