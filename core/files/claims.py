"""Names that one run writes to: claimed while it lasts, so that no two runs write the same file.

A claim is a hidden file ``.NAME.claim`` beside the output, locked by the operating system. The lock ends with its
owner, however that dies. The file says which hidden parts its owner writes, so that a later run can remove them.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import OutputError

logger = logging.getLogger("longtake")

ENDING = ".claim"
BEGINNING = b'{"longtake"'
OLDER = "-older"
TRIES = 10
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
BOOT = Path("/proc/sys/kernel/random/boot_id")  # the same in all containers of a machine
# Held by this thread, so that a claim within a claim on the same name is none.
_held: ContextVar[frozenset[str]] = ContextVar("claims", default=frozenset())


def part_of(path: Path) -> Path:
    """Return the name under which a file grows: hidden, beside it, with the same ending."""
    return path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")


def older_of(part: Path) -> Path:
    """Return the name under which an older folder waits until the part has taken its place."""
    return part.with_name(part.name + OLDER)


def claim_of(path: Path) -> Path:
    """Return the file that claims a name."""
    return path.with_name(f".{path.name}{ENDING}")


@contextmanager
def claimed(path: Path, *, wanted: bool = True) -> Iterator[None]:
    """Hold a name for a block; another thread or process that claims it meanwhile is refused at once.

    What dead runs of this machine left behind in the same folder is removed first.

    Args:
        path: the file or folder to be written; its folder exists.
        wanted: whether a name that cannot be claimed is an error; otherwise the block goes on without a claim.

    Raises:
        OutputError: another run holds it, or the system refuses to write beside it.

    """
    file = claim_of(path)
    key = os.path.join(os.path.realpath(file.parent), file.name)
    lock = None
    if key not in _held.get():
        try:
            lock = _claim(path, file)
        except (OutputError, OSError) as error:
            if wanted and isinstance(error, OSError):
                raise OutputError(f"cannot write in folder {path.parent}: {error.strerror or error}") from None
            if wanted:
                raise
    if lock is None:
        yield
        return
    _held.set(_held.get() | {key})
    try:
        yield
    finally:
        _held.set(_held.get() - {key})
        _release(file, lock)


def _claim(path: Path, file: Path) -> int | None:
    """Return the locked descriptor of a claim; None where the file system has no locks, which is said."""
    sweep(path.parent)
    try:
        lock = _take(file)
        for _ in range(TRIES):  # whoever sweeps the folder holds a dead claim for a moment
            if lock is not None:
                break
            time.sleep(0.02)
            lock = _take(file)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("the file system of %s has no locks: nothing stops another run from writing %s", file, path.name)
        return None
    if lock is None:
        owner = _owner(file.read_bytes()) if file.exists() else None
        who = f" (process {owner['process']} on {owner['machine'][0]})" if owner else ""
        raise OutputError(f"{path} is being written by another run{who}; wait for it, or give the output another name")
    try:
        if (found := file.read_bytes()) and not found.startswith(BEGINNING):
            raise OutputError(f"{file} is no file of longtake, which claims {path.name} by that name; move it away")
        part = part_of(path)
        os.ftruncate(lock, 0)
        owned = {"longtake": "claim", "process": os.getpid(), "machine": _machine()}
        os.write(lock, json.dumps(owned | {"parts": [part.name, older_of(part).name]}).encode())
    except OutputError:
        os.close(lock)
        raise
    except BaseException:
        _release(file, lock)
        raise
    return lock


def _take(file: Path, *, create: bool = True) -> int | None:
    """Return a locked descriptor of a claim, or None if another holds the lock."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if create else 0)
    while True:
        lock = os.open(file, flags, 0o644)
        try:
            if not _try_lock(lock):
                os.close(lock)
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(file)):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its owner removed the file between our opening and locking it


def _try_lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which others may read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(file: Path, lock: int) -> None:
    if sys.platform != "win32":  # where an open file cannot be removed
        file.unlink(missing_ok=True)
    os.close(lock)
    if sys.platform == "win32":
        with suppress(OSError):
            file.unlink()


def sweep(folder: Path) -> None:
    """Remove what dead runs left in a folder: the parts that their claims name, and the claims.

    Only claims of this machine count: whether a run of another one is alive, its lock may not tell.
    """
    for file in folder.glob(f".*{ENDING}"):
        with suppress(OSError):  # no right to, or already gone
            if not _is_of_this_machine(file):
                continue
            lock = _take(file, create=False)
            if lock is None:
                continue
            owner = _owner(file.read_bytes())
            for name in owner["parts"] if owner else ():
                _tidy(folder / name, folder / file.name[1 : -len(ENDING)])
            _release(file, lock)


def _tidy(part: Path, path: Path) -> None:
    """Remove a part; an older folder whose successor never came takes its name again."""
    if part.name.endswith(OLDER) and part.exists() and not path.exists():
        part.replace(path)
    else:
        remove(part)


def _is_of_this_machine(file: Path) -> bool:
    owner = _owner(file.read_bytes()) if file.is_file() and not file.is_symlink() else None
    return owner is not None and bool(set(owner["machine"]) & set(_machine()))


def _owner(data: bytes) -> dict[str, Any] | None:
    """Return what a claim says of its owner; None of a file that is no claim."""
    try:
        owner = json.loads(data)
        parts = owner["parts"]
        ours = owner["longtake"] == "claim" and all(
            name.startswith(".") and ".part-" in name and Path(name).name == name for name in parts
        )
        return {"process": owner["process"], "machine": list(owner["machine"]), "parts": parts} if ours else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _machine() -> list[str]:
    """Return the names of this machine; one in common is enough."""
    names = [platform.node()]
    with suppress(OSError):
        names.append(BOOT.read_text(encoding="ascii").strip())
    return names


def remove(part: Path) -> None:
    """Remove a file or folder that has grown under a hidden name, if it is there."""
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
