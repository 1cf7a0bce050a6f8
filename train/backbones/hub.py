"""Downloads files of a model hub as its API describes them: resumed where a download was cut, held to size
and hash, never half there.

huggingface_hub knows the endpoint (``HF_ENDPOINT``), the token and the protocol, and is used for them; but
its downloads begin anew after a kill and are held to their size alone. A file is kept under the hash that the
hub's listing gives it, so what lies there is whole.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.progress import Progress

_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Remote:
    """A file in a listing.

    Large files have a SHA-256; small ones git's own hash, SHA-1 of ``blob``, size and bytes.
    """

    name: str
    size: int
    sha256: str | None
    blob: str | None

    @property
    def key(self) -> str:
        return self.sha256 or str(self.blob)


@dataclass(frozen=True)
class Repository:
    """A model at one commit."""

    id: str
    commit: str
    gated: bool
    files: Mapping[str, Remote]


def look_up(model_id: str, revision: str | None = None) -> Repository:
    """What a model's repository holds now, or at a commit, tag or branch. Errors: BackboneUnusable."""
    from huggingface_hub import HfApi, errors

    if not _ID.fullmatch(model_id):
        raise BackboneUnusable(f"{model_id}: not a model's name", "expected OWNER/NAME")
    with _asking(model_id):
        try:
            remote_info = HfApi(endpoint=_endpoint()).model_info(
                model_id, revision=revision, files_metadata=True, timeout=30
            )
            # Only plain names: nothing of a listing may lead out of our folder.
            files = {
                s.rfilename: _remote(s)
                for s in remote_info.siblings or ()
                if re.fullmatch(r"[\w.-]*\w[\w.-]*", s.rfilename)
            }
        except (errors.HFValidationError, UnicodeEncodeError):
            raise
        except (ValueError, TypeError, KeyError, AttributeError):  # a page of a proxy, say
            raise BackboneUnusable(
                f"{model_id}: what answered is not a model hub",
                f"expected a listing from {_endpoint() or 'huggingface.co'}",
                "a proxy's page for logging in looks like this; HF_ENDPOINT names another hub",
            ) from None
    return Repository(model_id, str(remote_info.sha), bool(getattr(remote_info, "gated", False)), files)


def _remote(sibling: Any) -> Remote:
    large = sibling.lfs
    return Remote(
        sibling.rfilename,
        large.size if large else sibling.size or 0,
        large.sha256 if large else None,
        sibling.blob_id,
    )


def fetch(repository: Repository, name: str, folder: Path, progress: Progress) -> Path:
    """One file of a repository, in ``folder`` under its hash; what is there already is not asked for again.

    Errors: BackboneUnusable; OSError with its number (a full disk).
    """
    remote = repository.files[name]
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", remote.key):
        raise BackboneUnusable(
            f"{repository.id}: the hub gives no hash for {name}", "so it cannot be verified"
        )
    target, part = folder / remote.key, folder / f"{remote.key}.part"
    if target.is_file() and _verified(target, remote):
        return target
    _check_room(folder, remote.size - (part.stat().st_size if part.is_file() else 0))
    resumed = _download(repository, remote, part, progress)
    if not _verified(part, remote):
        part.unlink()
        if not resumed:
            raise BackboneUnusable(
                f"{repository.id}: {name} arrived damaged (its hash is not the hub's)", hint="pull again"
            )
        return fetch(
            repository, name, folder, progress
        )  # what an earlier pull had left was damaged: once more, whole
    part.replace(target)
    return target


def _download(repository: Repository, remote: Remote, part: Path, progress: Progress) -> bool:
    """Fill ``part`` to its size; gives whether it began with bytes of an earlier pull."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()
    there = part.stat().st_size if part.is_file() else 0
    if there > remote.size:
        part.unlink()
        there = 0
    headers = build_hf_headers() | {
        "Accept-Encoding": "identity"
    }  # a range counts bytes as they are in the file
    url = hf_hub_url(repository.id, remote.name, revision=repository.commit, endpoint=_endpoint())
    with _asking(repository.id), part.open("ab") as file:
        if remote.size and there < remote.size:
            http_get(
                url,
                _Counted(file, remote, progress),  # type: ignore[arg-type]
                resume_size=there,
                headers=headers,
                expected_size=remote.size,
            )
        file.flush()
        os.fsync(file.fileno())
    return there > 0


class _Counted:
    """A file that tells how much of it is there, in MB."""

    def __init__(self, file: IO[bytes], remote: Remote, progress: Progress):
        self._file, self._remote, self._progress = file, remote, progress

    def write(self, data: bytes) -> int:
        try:
            count = self._file.write(data)
        except OSError as error:  # which names no file
            raise OSError(error.errno or errno.EIO, error.strerror, str(self._file.name)) from None
        if self._remote.sha256:  # a large one: the others are there at once
            self._progress(
                self._remote.name[:20], round(self._file.tell() / 1e6), round(self._remote.size / 1e6)
            )
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _verified(file: Path, remote: Remote) -> bool:
    if file.stat().st_size != remote.size:
        return False
    digest = (
        hashlib.sha256() if remote.sha256 else hashlib.sha1(b"blob %d\0" % remote.size, usedforsecurity=False)
    )
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == remote.key


def _check_room(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(
            errno.ENOSPC,
            f"no room: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free",
            str(folder),
        )


def _endpoint() -> str | None:
    """huggingface_hub reads the variable when it is imported, which may have been before it was set;
    None: its own default.
    """
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _asking(model_id: str) -> Iterator[None]:
    """What the hub or the network answers, as one clear line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError:
        raise BackboneUnusable(f"{model_id}: not a model's name", "expected OWNER/NAME") from None
    except UnicodeEncodeError:  # of a header, which is all that is written
        raise BackboneUnusable(
            f"{model_id}: the hub's token (HF_TOKEN) is not one: it has other letters"
        ) from None
    except errors.GatedRepoError:
        raise BackboneUnusable(
            f"{model_id}: gated: accept its terms on its page, then give a token (HF_TOKEN, or hf auth login)"
        ) from None
    except errors.RepositoryNotFoundError:
        raise BackboneUnusable(
            f"{model_id}: the hub has no such model, or it is private (HF_TOKEN, or hf auth login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise BackboneUnusable(f"{model_id}: no such revision") from None
    except errors.HfHubHTTPError as error:
        raise BackboneUnusable(
            f"{model_id}: the hub answered {error.response.status_code}", hint="pull again later"
        ) from None
    except errors.HTTPError as error:  # the base of what its HTTP library raises, whichever that is
        raise _unreachable(model_id, error) from None
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise
        raise _unreachable(model_id, error) from None


def _unreachable(model_id: str, error: Exception) -> BackboneUnusable:
    detail = " ".join(str(error).split())[:160] or type(error).__name__
    return BackboneUnusable(
        f"{model_id}: the download was cut, or the hub cannot be reached",
        detail,
        "pull again: it goes on where it was",
    )
