"""Files of changes in a directory: `SCHEMA/TABLE/…`, in the layout of `apply.sink_kinds.row_files`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from glob import escape
from pathlib import Path

from apply.sink_kinds.row_files.reader import FilesReader
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sink_kinds.row_files.store import FileName, path_part
from schemas.endpoints.files import FilesTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, blocks
from schemas.settings import Settings
from schemas.table import TableSchema

LOCK = ".tailrace.lock"
UNFINISHED = ".unfinished-"


def open_sink(settings: Settings, target: str) -> RowFilesSink:
    """Return the sink of a target."""
    section = settings.section(target, FilesTarget)
    return RowFilesSink(DirectoryStore(Path(section.directory)), section)


def open_reader(settings: Settings, target: str) -> FilesReader:
    """Return what reads the rows back."""
    section = settings.section(target, FilesTarget)
    return FilesReader(DirectoryStore(Path(section.directory)), section)


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the directory can be written."""
    directory = Path(settings.section(target, FilesTarget).directory)
    if directory.is_dir() and os.access(directory, os.W_OK | os.X_OK):
        return []
    remedy = f"mkdir -p {directory}, and let the user of the apply service write it"
    return [blocks("directory-missing", f"{directory} is no directory to write in", remedy)]


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`."""
    return [f"# the user of the apply service must be able to write {settings.section(target, FilesTarget).directory}"]


class DirectoryStore:
    """See `apply.sink_kinds.row_files.store.Store`. The last commit sequence stands in a file's name too.

    Whether a name is free is looked at under a lock of the directory, which appliers on one machine, or on a network
    file system with locks, share.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock: int | None = None

    def create(self, name: FileName, content: bytes, content_type: str) -> int | None:
        """See `Store`."""
        folder = self._root.joinpath(*map(path_part, name.folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(self._locked(), fcntl.LOCK_EX)
            try:
                for there in folder.glob(f"{escape(name.stem)}-*{escape(name.extension)}"):
                    return self.last(str(there))
                _write(folder, f"{name.stem}-{name.last:016X}{name.extension}", content)
            finally:
                fcntl.flock(self._locked(), fcntl.LOCK_UN)
        except OSError as error:
            raise TailraceError(
                ErrorKind.TARGET_CONNECTION,
                f"a file cannot be written below {self._root} ({error.strerror})",
                remedy="see to the space and the rights of the directory",
            ) from error
        return None

    def paths(self, folder: tuple[str, ...]) -> Iterator[str]:
        """See `Store`. Files in the making are left out."""
        root = self._root.joinpath(*map(path_part, folder))
        return (str(path) for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))

    def last(self, path: str) -> int:
        """See `Store`."""
        return int(Path(path).name.partition(".")[0].rpartition("-")[2], 16)

    def read(self, path: str) -> bytes:
        """See `Store`."""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"{path} cannot be read ({error.strerror})") from error

    def close(self) -> None:
        """See `Store`."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _locked(self) -> int:
        if self._lock is None:
            self._lock = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        return self._lock


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever is cut off."""
    unfinished = folder / f"{UNFINISHED}{name}"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / name)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
