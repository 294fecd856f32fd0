"""A folder on any file system that pyarrow reads: whole files, exclusive creation, and errors as one line."""

from __future__ import annotations

import errno
import os
import random
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow as pa
from pyarrow import fs

from hptransfer.base.anchor import Anchor
from hptransfer.base.errors import UsageError, first_line

T = TypeVar("T")

MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENOTCONN}
# What object stores answer that no waiting mends, in pyarrow's words.
REFUSALS = ("NO_SUCH_BUCKET", "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")

# How long a write is tried again that a full or absent file system refuses: it may be mended, and what is to be written was
# paid for.
PATIENCE_SECONDS = 60.0

# What `whole` and `Files.create` write before it has its name, and when it is nobody's any more.
TEMPORARY = re.compile(r".\.[0-9a-f]{32}\.tmp$")
STALE_SECONDS = 3600.0

# How long a contender's bid on an object store is waited for: far longer than it stands unless its process has died.
BID_SECONDS = 60.0


class Files:
    """Files by name below ``location``, a folder or URI. Readers see whole files only: a file is written under a temporary
    name and renamed (on an object store, one PUT). A folder that goes away is unreachable, and never made again: see `Anchor`.
    ``identity``: that of the folder, as another process knows it."""

    def __init__(self, location: str | Path, identity: str | None = None) -> None:
        self.location = str(location)
        try:
            if "://" in self.location:
                self._fs, self._root = fs.FileSystem.from_uri(self.location)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(self.location).absolute())
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"store {self.location}: {first_line(error)}") from None
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)
        # The same folder from another process, whatever its working directory.
        self.uri = self._root if self.is_local else self.location
        if self.is_local and not may_be_a_folder(self._root):
            raise UsageError(f"store {self.location}: there is a file in its place")
        self._anchor = Anchor(self._root, identity) if self.is_local else None

    def settle(self) -> str | None:
        """Know the folder from now on, made where it is not there; its identity. None: an object store, which does not go."""
        if self._anchor is None:
            return None
        with self._reaching("written"):
            return self._anchor.identity

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        if self.is_local:
            return os.path.isfile(self._path(name)) or self._lacks()
        with self._reaching("read"):
            return bool(self._fs.get_file_info(self._path(name)).type == fs.FileType.File)

    def list(self, folder: str, suffix: str) -> list[str]:
        """Names of the files in a folder ("" is the root) that end in ``suffix``, sorted."""
        return [name for name in self.stamps(folder) if name.endswith(suffix)]

    def stamps(self, folder: str) -> dict[str, str]:
        """The files in a folder in one listing, sorted: by name, what changes when a file is written anew (its time and size)."""
        selector = fs.FileSelector(self._path(folder).rstrip("/"), allow_not_found=True)
        with self._reaching("read"), suppress(FileNotFoundError):  # the folder came or went in this moment
            found = [info for info in self._fs.get_file_info(selector) if info.type == fs.FileType.File]
            named = ((_base_name(info), info) for info in found)
            names = {f"{folder}/{name}".lstrip("/"): f"{info.mtime_ns} {info.size}" for name, info in named if name}
            if names:
                return dict(sorted(names.items()))
        self._lacks()
        return {}

    def stamp(self, name: str) -> str:
        """The same for one file, as it is at this moment (a listing over NFS may be a minute old); "" where there is none."""
        with self._reaching("read"), suppress(FileNotFoundError):
            if self.is_local:
                with open(self._path(name), "rb") as file:  # NFS asks the server when a file is opened
                    status = os.fstat(file.fileno())
                return f"{status.st_mtime_ns} {status.st_size}"
            info = self._fs.get_file_info(self._path(name))
            return f"{info.mtime_ns} {info.size}" if info.type == fs.FileType.File else ""
        self._lacks()
        return ""

    def read(self, name: str) -> bytes:
        """The content; FileNotFoundError where there is no such file."""
        with self._reaching("read"):
            if self.is_local:
                with open(self._path(name), "rb", buffering=0) as file:
                    return file.readall()
            with self._fs.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read())

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write or replace a file, whole or not at all; ``durable``: synced to the disk too."""
        with self._reaching("written"):
            self._make_parent(name)
            if self.is_local:
                self._replace(self._path(name), content, durable)
            else:
                self._put(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not be there; False where another was first.

        On a folder that is one atomic step, also over NFS. pyarrow offers object stores none: there contenders bid.
        """
        with self._reaching("written"):
            self._make_parent(name)
            return self._link(self._path(name), content) if self.is_local else self._create_alone(name, content)

    def _create_alone(self, name: str, content: bytes) -> bool:
        """Create with writes and listings alone, on any store where a listing shows what was written before it.

        Whoever sees, between writing its bid and taking it back, neither the file nor another's bid is the only one that can:
        whoever bids later sees this bid or the file. Two that see each other step back for a random time. A process that
        died over its bid leaves it behind; another removes it after `BID_SECONDS` by its own clock.
        """
        folder, pause, first_seen = name.rpartition("/")[0], 0.05, dict[str, float]()
        while True:
            bid = f"{name}.{uuid.uuid4().hex}.bid"
            try:
                self._put(bid, content)
                others = [other for other in self.list(folder, ".bid") if other.startswith(f"{name}.") and other != bid]
                if self.exists(name):  # looked for after the bids: a winner writes it before its bid goes
                    return False
                if not others:
                    self._put(name, content)
                    return True
            finally:
                with suppress(StoreUnreachable):  # then it is left behind, and what was decided holds
                    self.delete(bid)
            for other in others:
                if time.monotonic() - first_seen.setdefault(other, time.monotonic()) > BID_SECONDS:
                    self.delete(other)
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, 2.0)

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there any more is no error."""
        with self._reaching("written"), suppress(FileNotFoundError):
            self._fs.delete_file(self._path(name))

    def move(self, name: str, to: str) -> bool:
        """Move a file; False where the file system refuses."""
        try:
            with self._reaching("written"):
                self._make_parent(to)
                self._fs.move(self._path(name), self._path(to))
        except (OSError, StoreUnreachable):
            return False
        return True

    def make_folder(self, name: str) -> Path:
        """A folder below a local root, for programs that write there by themselves."""
        with self._reaching("written"):
            return self._made(name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_parent(self, name: str) -> None:
        """An object store has no folders: pyarrow would write a marker for each, above the store too."""
        if self.is_local:
            self._made(name.rpartition("/")[0])
        elif self._fs.type_name not in ("s3", "gcs", "abfs"):
            self._fs.create_dir(self._path(name).rsplit("/", 1)[0], recursive=True)

    def _made(self, name: str) -> Path:
        """A folder below the root; the root itself is not made here."""
        path = Path(self._root)
        for part in filter(None, name.split("/")):
            path /= part
            path.mkdir(exist_ok=True)
        return path

    def _put(self, name: str, content: bytes) -> None:
        with self._fs.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def sweep(self, folders: Iterable[str]) -> None:
        """Remove what killed writers left half-written in these folders ("" is the root)."""
        if self.is_local:
            for folder in folders:
                sweep(Path(self._path(folder)))

    @staticmethod
    def _replace(path: str, content: bytes, durable: bool) -> None:
        with whole(Path(path), durable=durable) as file:
            file.write(content)

    @staticmethod
    def _link(path: str, content: bytes) -> bool:
        """A hard link of a whole temporary file: nobody ever sees the file empty."""
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            Path(temporary).write_bytes(content)
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    raise
                with open(path, "xb") as file:  # a mounted bucket knows no links
                    file.write(content)
        except FileExistsError:
            # Over NFS a link that was made may be asked for once more: two names say that it is ours (open(2), O_EXCL).
            return os.path.exists(temporary) and os.stat(temporary).st_nlink == 2
        finally:
            Path(temporary).unlink(missing_ok=True)
        return True

    def _lacks(self) -> bool:
        """False, after a file was not found; StoreUnreachable where the whole folder has gone."""
        if self._anchor:
            with self._reaching("read"):
                self._anchor.require()
        return False

    @contextmanager
    def _reaching(self, done: str) -> Iterator[None]:
        """A file system that refuses is the user's to mend: one line. A file that is gone is the caller's business."""
        try:
            if done == "written" and self._anchor:
                self._anchor.settle()
                self._anchor.require()
            yield
        except FileNotFoundError:
            self._lacks()
            raise
        except (OSError, pa.ArrowInvalid) as error:
            why = getattr(error, "strerror", None) or first_line(error)
            may_pass = getattr(error, "errno", None) in MAY_PASS if self.is_local else not any(word in why for word in REFUSALS)
            raise StoreUnreachable(f"store {self.location} cannot be {done}: {why}", may_pass) from None


def may_be_a_folder(path: str | Path) -> bool:
    """Whether a path is a folder, or nothing that is in the way of one."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except NotADirectoryError:
        return False
    except OSError:  # not there, or not to be reached now
        return True


def _base_name(info: fs.FileInfo) -> str:
    """The name of a file; "" where it is no text, and then none of ours."""
    try:
        return str(info.base_name)
    except UnicodeDecodeError:
        return ""


def cache_home() -> Path:
    """What can be made again is kept here: in HPTRANSFER_CACHE, else the user's cache folder. Raises UsageError where there is
    no home."""
    if not (home := os.environ.get("HPTRANSFER_CACHE") or os.environ.get("XDG_CACHE_HOME")):
        home = os.path.expanduser("~/.cache")
        if home.startswith("~"):
            raise UsageError("there is no home folder to keep a cache in (HOME is not set); name a folder with HPTRANSFER_CACHE")
    return Path(home) / "hptransfer"


@contextmanager
def whole(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A local file to write that takes its name when the block ends well, and is gone otherwise: whoever has the old one open
    sees the old one, nobody half a file, and writers side by side do not meet. ``durable``: synced to the disk too."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: Path, content: str) -> None:
    """Write a local text file, whole or not at all. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with whole(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def sweep(folder: Path) -> None:
    """Remove the temporary files of `whole` that are so old that who wrote them must have been killed."""
    with suppress(OSError), os.scandir(folder) as found:  # not there, or not ours to clean
        for file in found:
            if TEMPORARY.search(file.name) and file.stat().st_mtime < time.time() - STALE_SECONDS:
                os.unlink(file.path)


def patiently(write: Callable[[], T]) -> T:
    """Try again for `PATIENCE_SECONDS` what may pass."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except StoreUnreachable as error:
            if not error.may_pass or time.monotonic() > deadline:
                raise
            time.sleep(1.0)


class StoreUnreachable(UsageError):
    """The file system refused. ``may_pass``: it is full, read-only or away, and may be well again in a minute."""

    def __init__(self, message: str, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass
