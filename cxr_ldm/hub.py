"""Bundles on a hub, by huggingface_hub: fetched by `bundle=hf:OWNER/NAME`, published by `export hub=OWNER/NAME`.

A bundle is data: what a hub sends is held against its SHA256SUMS and builds registered parts alone, as any other.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from cxr_ldm.errors import UserError

PREFIX = "hf:"
# what a bundle consists of; a repository may hold more, such as .gitattributes
FILES = ["config.json", "README.md", "SHA256SUMS", "*.safetensors"]
NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def parted(name: str) -> tuple[str, str | None]:
    """OWNER/NAME and the revision of `hf:OWNER/NAME@REVISION`.

    Raises:
        UserError: it is no such name.

    >>> parted("hf:lab/chest"), parted("hf:lab/chest@v1")
    (('lab/chest', None), ('lab/chest', 'v1'))
    """
    stated = name.removeprefix(PREFIX)
    if not NAME.fullmatch(stated):
        raise UserError(f"{name} names no repository; give {PREFIX}OWNER/NAME, or {PREFIX}OWNER/NAME@REVISION.")
    repository, _, revision = stated.partition("@")
    return repository, revision or None


def fetched(name: str) -> Path:
    """The folder of a bundle on the hub: downloaded once, then from huggingface_hub's cache.

    Args:
        name: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.

    Raises:
        UserError: it is not there, cannot be reached, or may not be read.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    repository, revision = parted(name)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES))
    except RepositoryNotFoundError:
        raise UserError(f"bundle={name}: there is no such repository, or it is private; `hf auth login`.") from None
    except LocalEntryNotFoundError:
        raise UserError(f"bundle={name} is not in the cache, and the hub cannot be reached from here.") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"bundle={name} cannot be fetched ({first_line(error)}).") from None


def first_line(error: Exception) -> str:
    """Of what another library says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def published(folder: Path, name: str, private: bool, beside: Mapping[str, bytes]) -> str:
    """Upload a bundle as it is, its card as the repository's; returns the address of the commit.

    Args:
        beside: further files of the repository by name. They are no part of the bundle, whose SHA256SUMS lists all that
            it consists of, and are not fetched with it.

    Raises:
        UserError: nobody is logged in, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    repository, revision = parted(name)
    if revision is not None:
        raise UserError(f"hub={name}: a bundle is sent to a repository, not to a revision; leave @{revision} out.")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.repo_info(repository).private:
            raise UserError(f"hub={name} is there already and public; say private=false, or name another.")
        own = sorted({path for pattern in FILES for path in folder.glob(pattern)})
        added = [CommitOperationAdd(path.name, path) for path in own]
        added += [CommitOperationAdd(file, content) for file, content in beside.items()]
        commit = api.create_commit(repository, added, commit_message="A bundle of cxr_ldm")
    except LocalTokenNotFoundError:
        raise UserError("nobody is logged in at the hub; run `hf auth login` first.") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"hub={name} was refused ({first_line(error)}).") from None
    return str(commit.commit_url)
