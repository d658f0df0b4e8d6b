"""Where collections come from: GitHub at a commit, or the Hugging Face hub at a revision."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Download:
    """Reads files of pinned versions. Tests give it addresses of this machine.

    Args:
        files: address that serves `REPOSITORY/COMMIT/PATH`.
        archives: address that serves `REPOSITORY/tar.gz/COMMIT`.
        hub: folder with copies of the hub's data sets, OWNER/NAME; None for the hub itself.
    """

    files: str = "https://raw.githubusercontent.com"
    archives: str = "https://codeload.github.com"
    hub: str | None = None

    def file(self, source: str, path: str) -> bytes:
        """One file of `source`, which is `OWNER/NAME@COMMIT`."""
        repository, commit = source.split("@")
        return _get(f"{self.files}/{repository}/{commit}/{path}")

    def text(self, source: str, path: str) -> str:
        """One file as text."""
        return self.file(source, path).decode("utf-8-sig")

    def members(self, source: str, folder: str, ending: str = "") -> Iterator[tuple[str, bytes]]:
        """Paths and contents of the files below a folder of `source`, in the order of paths."""
        repository, commit = source.split("@")
        packed = _get(f"{self.archives}/{repository}/tar.gz/{commit}")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            named = {member.name.partition("/")[2]: member for member in archive.getmembers()}
            for path in sorted(named):
                if path.startswith(folder) and path.endswith(ending) and named[path].isfile():
                    content = archive.extractfile(named[path])
                    assert content is not None
                    yield path, content.read()

    def rows(self, source: str, config: str, split: str) -> pl.DataFrame:
        """Rows of a data set of the hub, `OWNER/NAME@REVISION`."""
        from polymine.evaluation.hub import hub_rows

        dataset = f"{self.hub}/{source.partition('@')[0]}" if self.hub else source
        return hub_rows(dataset, config, split)


def _get(address: str) -> bytes:
    import httpx

    try:
        reply = httpx.get(address, follow_redirects=True, timeout=120).raise_for_status()
    except httpx.HTTPError as error:
        raise OSError(f"{address}: {str(error).splitlines()[0]}") from error
    return reply.content
