"""Publishing to the Hub: checked before, in one commit, and never twice the same.

The token is the Hub client's own, from `hf auth login` or HF_TOKEN: no function here takes, keeps or prints one. Files
are uploaded first and one commit makes them visible together, so an interruption leaves the repository as it was,
and the next try sends only what is missing.
"""

import hashlib
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.names import MANIFEST, SIGNATURE
from aae_zoo.runtime.bundles.signature import compare, contents, read_signature, signed_files
from aae_zoo.runtime.checks.report import check_report
from aae_zoo.runtime.checks.verify import verify
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput, ParityError
from aae_zoo.runtime.escapes import note, words_of
from aae_zoo.runtime.files import atomic_file, scratch_folder
from aae_zoo.runtime.ownership import BUNDLE, MARK, PAGE, SITE, mark, named, parse_proof, proof
from aae_zoo.runtime.store.catalogue import CatalogueEntry, parse_catalogue
from aae_zoo.runtime.store.hub import (
    Patience,
    check_settings,
    endpoint,
    hub_errors,
    limit_silence,
    patiently,
    shown_endpoint,
    status_of,
    without_xet,
)

if TYPE_CHECKING:
    from huggingface_hub import Discussion, HfApi


@dataclass(frozen=True)
class How:
    """How to publish.

    `private` makes a new repository private, `tag` names the commit, `create_pr` makes a pull request of it, and
    `dry_run` only looks what would change.
    """

    private: bool = False
    tag: str | None = None
    create_pr: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Published:
    """What a repository has now: its newest commit (of a dry run None), where to see it, and what changed.

    `url` is the commit's page, or the pull request's; `added` and `removed` are the names of files, both empty where
    everything was there already and no commit was made; `pin` is the name by which a bundle is this one for ever,
    ORG/NAME@COMMIT#sha256=..., and None of pages and of a dry run.
    """

    repository: str
    commit: str | None
    url: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    pin: str | None = None


def publish_bundle(folder: Path, repository: str, how: How) -> Published:
    """Publish a bundle as a model repository "ORG/NAME", in one commit.

    Raises:
        InvalidBundle, ParityError: the bundle is not whole, does not give its golden outputs, or has a card that the
            Hub would not take; nothing was sent.
        InvalidInput: the tag names another commit, --private is asked of a public repository, or a file of the
            repository that would change is not as aae-zoo published it.
        HubError: the Hub cannot be reached, refuses or fails.
    """
    bundle = verified(folder)
    names = [*bundle.manifest.files, MANIFEST, *([SIGNATURE] if (folder / SIGNATURE).exists() else [])]
    files = {name: folder / name for name in names}
    message = f"{bundle.manifest.name} {bundle.manifest.version}"
    done = publish_files(repository, files, message, how)
    pin = f"{repository}@{done.commit}#sha256={bundle.manifest_sha256}" if done.commit else None
    return replace(done, pin=pin)


def publish_space(folder: Path, repository: str, how: How) -> Published:
    """Publish a folder of pages, as `explore` writes it, as a static Space "ORG/NAME", in one commit.

    Its mark there tells what was published, be it as `explore` wrote it or not.

    Raises:
        InvalidInput: the folder is not one of pages; others as `publish_bundle` does for the Hub.
    """
    readme = folder / "README.md"
    if not readme.is_file() or 'sdk: "static"' not in readme.read_text("utf-8").splitlines():
        raise _no_pages(folder)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MARK, None)
    with scratch_folder() as scratch:
        published = scratch / MARK
        published.write_text(mark(SITE, {name: _hashes(path)[0] for name, path in files.items()}), "utf-8")
        files[MARK] = published
        return publish_files(repository, files, "Pages that decode in the browser", how, kind="space")


def _no_pages(folder: Path) -> InvalidInput:
    """Why what is in a folder is not published as pages, and what can be done."""
    try:
        parse_proof((folder / MARK).read_bytes(), PAGE)
    except (OSError, ValueError):
        return InvalidInput(f"{folder} is not a folder of pages; write one with aae-zoo explore NAME -o {folder}")
    return InvalidInput(
        f"{folder} is the page of a detector, which shows your pictures and is not for the Hub; send its index.html to "
        "whom you like, or publish what aae-zoo explore BUNDLE -o SITE writes"
    )


def publish_all(folder: Path, namespace: str | None, how: How) -> Iterator[Published]:
    """Publish every bundle of a folder with a catalogue, and pin each in the catalogue at once.

    The repositories are NAMESPACE/NAME, by default those that the catalogue has.

    Raises: as `publish_bundle` does, and
        InvalidBundle: the catalogue is missing, or does not list the bundles as they are.
        InvalidInput: there is no namespace, and the catalogue has no repository.
    """
    path = folder / "catalogue.json"
    if not path.is_file():
        raise InvalidBundle(f"{path} is missing; run aae-zoo publish --all from the root of a checkout")
    bundles = [open_bundle(p) for p in sorted(folder.iterdir()) if (p / MANIFEST).is_file()]
    for bundle in bundles:
        name = bundle.manifest.name
        entry = _catalogue(path).get(name)
        if entry is None or entry.sha256 != bundle.manifest_sha256:
            raise InvalidBundle(f"{path} does not have {name} as it is in {bundle.folder}; make generated, and again")
        repository = f"{namespace}/{name}" if namespace else entry.repository
        if repository is None:
            raise InvalidInput(f"{path} has no repository of {name}; give --namespace ORG, or set AAE_ZOO_NAMESPACE")
        done = publish_bundle(bundle.folder, repository, how)
        if done.commit:
            _pin(path, name, {"repository": done.repository, "revision": done.commit})
        yield done


def verified(folder: Path) -> Bundle:
    """The bundle in a folder, after all of it was checked: hashes, signature, parity report, golden outputs and card.

    Raises:
        InvalidBundle: a file is missing or altered, the signature is over others, or the card's metadata are not what
            the Hub takes.
        ParityError: the parity report has a comparison that failed, or the graphs do not give their golden outputs.
    """
    bundle = open_bundle(folder)
    for name in bundle.manifest.files:
        bundle.read(name)
    _check_signature(bundle)
    check_report(bundle)
    _replay(bundle)
    _check_card(bundle)
    return bundle


def _check_signature(bundle: Bundle) -> None:
    """That a signature, if there is one, is over these files and not over those of an earlier export."""
    signature = read_signature(bundle.folder)
    where = str(bundle.folder / SIGNATURE)
    if signature and (differences := compare(signed_files(signature, where), contents(bundle))):
        raise InvalidBundle(f"{where} is over other files ({differences}); aae-zoo sign the bundle again, or remove it")


def _replay(bundle: Bundle) -> None:
    """Compare what the graphs give on this machine with the golden outputs."""
    failed = [comparison for comparison in verify(str(bundle.folder), device="cpu") if not comparison.passed]
    if failed:
        first = failed[0]
        raise ParityError(
            f"the {first.graph} of {bundle.manifest.name} differs from its golden outputs at batch {first.batch}: "
            f"{first.found}; export the model again"
        )


def _check_card(bundle: Bundle) -> None:
    check_settings()
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(bundle.read("README.md").decode()).data.to_dict()
    except Exception as error:  # yaml's own errors share no base with the others
        reason = words_of(error)
        raise InvalidBundle(f"{bundle.folder / 'README.md'} has no metadata that the Hub takes: {reason}") from None
    licence = ("license",) if bundle.manifest.licence else ()  # whose own pictures they are need not say one
    for key in (*licence, "library_name", "tags"):
        if not data.get(key):
            raise InvalidBundle(f"{bundle.folder / 'README.md'} has no {key} in its metadata; export the model again")


def publish_files(
    repository: str, files: Mapping[str, Path], message: str, how: How, *, kind: str = "model"
) -> Published:
    """Make a repository have these files, in one commit or, where it has them already, in none.

    Of what was published before, what is not among them is removed; other files stay. `files` maps each name in the
    repository to the file, and one of them is to tell of the others: a bundle's manifest, or a mark. `kind` is "model"
    or "space" (a static one).

    Raises: as `publish_bundle` does for the Hub.
    """
    if "/" not in repository:  # which the Hub makes among the user's own, and then does not find
        raise InvalidInput(f"{repository!r} has no owner, expected a repository ORG/NAME")
    with hub_errors(repository), _quiet():
        target = _Repository(repository, kind, how)
        theirs = target.contents
        added = _differing(files, theirs)
        removed = tuple(name for name in theirs if name in target.published and name not in files)
        changes = bool(added or removed)
        if not how.create_pr:  # which whoever owns the files may refuse
            target.check_ours([name for name in (*added, *removed) if name in theirs])
        target.check_tag(changes)
        if how.dry_run:
            return Published(repository, None, target.url, added, removed)
        commit, url = target.head, target.url
        if changes or commit is None:
            sent = {name: files[name] for name in added}
            commit, url = target.proposed(sent, removed, message) or target.commit(sent, removed, message)
        target.tag(commit)
    return Published(repository, commit, url, added, removed)


class _Repository:
    """A repository that is published to.

    `head` is its newest commit, None where there is no such repository; `contents` has the hash of every file, the
    SHA-256 of a large one, else git's; `published` the SHA-256 of every file that was published before.
    """

    def __init__(self, name: str, kind: str, how: How) -> None:
        from huggingface_hub import HfApi

        self.name, self.kind, self.how = name, kind, how
        self.url = f"{shown_endpoint()}/{'' if kind == 'model' else f'{kind}s/'}{name}"
        # A dry run only reads, and needs no token.
        self._api = HfApi(endpoint=endpoint(), token=None if how.dry_run else True)
        self.head = self._head()
        self.contents = self._contents(self.head)
        self.published = self._published(BUNDLE if kind == "model" else SITE)

    @property
    def api(self) -> "HfApi":
        """The Hub's client, which does not wait for ever; after some failures it begins another session."""
        limit_silence()
        return self._api

    def _head(self, revision: str | None = None) -> str | None:
        """The newest commit, of the main branch or another, asked for with a time limit."""
        from huggingface_hub import constants
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        timeout = constants.HF_HUB_ETAG_TIMEOUT
        try:
            info = patiently(
                lambda: self.api.repo_info(self.name, repo_type=self.kind, revision=revision, timeout=timeout)
            )
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
        if self.how.private and not info.private:
            raise InvalidInput(
                f"{self.name} is public, and --private makes only a new repository private; "
                f"make it private in its settings, {self.url}/settings"
            )
        return info.sha

    def _contents(self, commit: str | None) -> dict[str, str]:
        from huggingface_hub.hf_api import RepoFile

        if commit is None:
            return {}
        entries = self.api.list_repo_tree(self.name, repo_type=self.kind, revision=commit, recursive=True)
        return {e.path: e.lfs.sha256 if e.lfs else e.blob_id for e in entries if isinstance(e, RepoFile)}

    def _published(self, kind: str) -> dict[str, Any]:
        """What the bundle's manifest, or the pages' mark, tells: nothing where it is missing, or somebody else's."""
        if proof(kind) not in self.contents:
            return {}
        content = self._read(proof(kind))
        try:
            listed = parse_proof(content, kind) | {proof(kind): hashlib.sha256(content).hexdigest()}
        except ValueError:
            return {}
        # A bundle's signature comes with its manifest, which cannot name it.
        return listed | {name: self.contents[name] for name in (SIGNATURE,) if kind == BUNDLE and name in self.contents}

    def check_ours(self, names: Sequence[str]) -> None:
        """Refuse to change or remove files that are not as they were published.

        Raises:
            InvalidInput: with their names.
        """
        if strange := [name for name in names if not self._is_as_published(name)]:
            raise InvalidInput(
                f"{self.name} has {named(strange)}, not as published by aae-zoo; give another --repo, remove or "
                "rename what is yours there, or propose the change with --create-pr"
            )

    def _is_as_published(self, name: str) -> bool:
        wanted, found = self.published.get(name), self.contents[name]
        if wanted is None or found == wanted:
            return wanted is not None
        is_large = len(found) == 64  # the Hub told its SHA-256
        return not is_large and hashlib.sha256(self._read(name)).hexdigest() == wanted

    def _read(self, name: str) -> bytes:
        """The content of a file, of those that are small enough to be kept in git itself."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        url = hf_hub_url(self.name, name, repo_type=self.kind, revision=self.head, endpoint=endpoint())
        headers = build_hf_headers(token=self.api.token)
        response = http_backoff("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        hf_raise_for_status(response)
        content: bytes = response.content
        return content

    def check_tag(self, changes: bool) -> None:
        """Refuse a tag that exists and names another commit than the one published, which with changes is a new one."""
        if self.how.tag is None or self.head is None:
            return
        refs = patiently(lambda: self.api.list_repo_refs(self.name, repo_type=self.kind))
        for known in refs.tags:
            if known.name == self.how.tag and (changes or known.target_commit != self.head):
                raise InvalidInput(
                    f"the tag {known.name} of {self.name} is at commit {known.target_commit} already, which has "
                    "other files; give a new tag"
                )

    def proposed(self, added: Mapping[str, Path], removed: Sequence[str], message: str) -> tuple[str, str] | None:
        """The commit and page of an open pull request that is the same, of a run whose answer may have been lost."""
        for pull in self._pull_requests() if self.how.create_pr else ():
            head = self._head(pull.git_reference) if pull.title == message else None
            if head and self._has(head, added, removed):
                return head, f"{self.url}/discussions/{pull.num}"
        return None

    def _pull_requests(self) -> "list[Discussion]":
        """Those that are open."""
        return patiently(
            lambda: list(
                self.api.get_repo_discussions(
                    self.name, repo_type=self.kind, discussion_type="pull_request", discussion_status="open"
                )
            )
        )

    def commit(self, added: Mapping[str, Path], removed: tuple[str, ...], message: str) -> tuple[str, str]:
        """One commit with everything, in a repository that is made if it is missing: the commit's name and page."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        if self.head is None and not self.how.create_pr:
            self._create()
        additions = [CommitOperationAdd(name, path) for name, path in added.items()]
        with without_xet():
            for addition in additions:  # one by one: the client's threads for several do not end at Ctrl-C
                self.api.preupload_lfs_files(
                    self.name, [addition], repo_type=self.kind, create_pr=self.how.create_pr, free_memory=False
                )
        operations = [*additions, *map(CommitOperationDelete, removed)]
        patience = Patience(transport=True, tells=True)
        while True:
            try:
                return self._commit(operations, message)
            except Exception as error:
                self._wait(patience, error)
                if arrived := self._arrived(added, removed):
                    return arrived, f"{self.url}/commit/{arrived}"
                if status_of(error) == 412:
                    raise

    def _wait(self, patience: Patience, error: Exception) -> None:
        """Wait before another try of a commit, unless the newest commit may be it, or it could be made twice."""
        status = status_of(error)
        if self.how.create_pr and status != 429:  # the first may be made yet, and the next run then finds it
            raise error
        if status != 412:
            patience.wait(error)

    def _create(self) -> None:
        sdk = "static" if self.kind == "space" else None
        private = self.how.private or None
        patiently(
            lambda: self.api.create_repo(self.name, repo_type=self.kind, private=private, exist_ok=True, space_sdk=sdk)
        )
        self.head = self._head()  # so that the commit is refused where somebody else was faster

    def _commit(self, operations: Sequence[Any], message: str) -> tuple[str, str]:
        info = self.api.create_commit(
            self.name,
            operations,
            commit_message=message,
            repo_type=self.kind,
            create_pr=self.how.create_pr,
            parent_commit=None if self.how.create_pr else self.head,
        )
        return info.oid, info.pr_url or info.commit_url

    def _arrived(self, added: Mapping[str, Path], removed: Sequence[str]) -> str | None:
        """The newest commit, if it has what was sent: where an answer was lost, the commit may have been made."""
        head = self._head()
        return head if head != self.head and self._has(head, added, removed) else None

    def _has(self, commit: str | None, added: Mapping[str, Path], removed: Sequence[str]) -> bool:
        theirs = self._contents(commit)
        return not _differing(added, theirs) and not any(name in theirs for name in removed)

    def tag(self, commit: str) -> None:
        """Give the commit its tag, if one is asked for."""
        tag = self.how.tag
        if tag:
            patiently(
                lambda: self.api.create_tag(self.name, repo_type=self.kind, tag=tag, revision=commit, exist_ok=True)
            )


def _differing(files: Mapping[str, Path], theirs: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the files that a repository lacks or, by its hashes, has with other contents."""
    return tuple(name for name, path in files.items() if theirs.get(name) not in _hashes(path))


def _hashes(path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and git's name for it."""
    content = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return hashlib.sha256(content).hexdigest(), git.hexdigest()


class _Waits(logging.Handler):
    """Says how long the Hub's client waits before it tries again, and nothing else of what it warns of.

    That has the whole address of an upload, whose signature lets whoever reads it upload.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.match(r"(?:Retrying in|Rate limited. Waiting) ([\d.]+)s", record.getMessage()):
            note(f"waiting {float(found[1]):g} s before another try")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of uploads, which the client draws even where there is no terminal, and its warnings."""
    from huggingface_hub.utils import disable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    before = logger.handlers, logger.propagate
    bars: AbstractContextManager[Any] = nullcontext() if sys.stderr.isatty() else disable_progress_bars()
    with bars:
        logger.handlers, logger.propagate = [_Waits()], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = before


def _pin(path: Path, name: str, pin: Mapping[str, str]) -> None:
    document = json.loads(path.read_text("utf-8"))
    document["models"][name] |= pin
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _catalogue(path: Path) -> dict[str, CatalogueEntry]:
    try:
        return {entry.name: entry for entry in parse_catalogue(path.read_bytes())}
    except ValueError as error:
        raise InvalidBundle(f"{path} {error}; make generated") from None
