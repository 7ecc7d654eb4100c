"""Signatures of bundles in the OpenSSF Model Signing format: made and checked with a key, without a network.

The signature is the file model.sig of a bundle's folder. It covers all other files, the manifest among them, which
therefore cannot name it. It is JSON (a Sigstore bundle of an in-toto statement). The package model-signing makes and
checks it, and that package's own command accepts our signatures as we accept its:

    model_signing sign key BUNDLE --signature BUNDLE/model.sig --private_key KEY.pem
    model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key KEY.pub
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.names import MANIFEST, SIGNATURE
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput, MissingBackend
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.files import atomic_file, open_plain, scratch_folder

MAX_SIGNATURE_BYTES: Final = 1 << 20
_KEY: Final = "expected PEM of the curve P-256, P-384 or P-521, without a password (docs/trust.md says how to make one)"
# Those of a clone, which the format leaves out.
OF_GIT: Final = (".git", ".gitattributes", ".github", ".gitignore")


def sign_bundle(folder: Path, key: Path) -> Path:
    """Sign all files of a bundle with a private key: the path of the signature, which replaces one that is there.

    Raises:
        InvalidBundle: a file is missing, altered or not in the manifest.
        InvalidInput: `key` is not a private key that the format knows.
        MissingBackend: model-signing is not installed.
        OutputError: the signature cannot be written.
    """
    bundle = open_bundle(folder)
    for name in bundle.manifest.files:
        bundle.read(name)
    known = {*contents(bundle), SIGNATURE, *OF_GIT}
    if unnamed := sorted(path.name for path in folder.iterdir() if path.name not in known):
        raise InvalidBundle(
            f"{folder} has {', '.join(unnamed)}, not in its manifest; take it out of the folder, and sign"
        )
    upstream = _upstream()
    try:
        signer = upstream.signing.Config().use_elliptic_key_signer(private_key=key)
    except Exception as error:  # whatever those bytes are
        raise InvalidInput(f"{key} is not a private key ({words_of(error)}); {_KEY}") from None
    with scratch_folder() as scratch:  # nothing may come into the bundle before it is hashed
        signer.set_hashing_config(_hashing(upstream)).sign(folder, scratch / SIGNATURE)
        signature = (scratch / SIGNATURE).read_bytes()
    with atomic_file(folder / SIGNATURE) as temporary:
        temporary.write_bytes(signature)
    return folder / SIGNATURE


def read_signature(folder: Path) -> bytes | None:
    """The signature in a bundle's folder, unchecked; None where there is none.

    Raises:
        InvalidBundle: it is too large, or not a file of the folder itself.
    """
    path = folder / SIGNATURE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidBundle(f"{path} is not a file of the bundle itself; do not trust this bundle")
    if not path.exists():
        return None
    try:
        with open_plain(path) as stream:  # bounded: one byte over the limit is enough to refuse it
            return within_limit(stream.read(MAX_SIGNATURE_BYTES + 1), str(path))
    except OSError as error:
        raise InvalidBundle(f"{path} cannot be read ({error.strerror}); do not trust this bundle") from None


def within_limit(signature: bytes, where: str) -> bytes:
    """The signature, of which more than the limit was read where it is larger.

    Raises:
        InvalidBundle: it is.
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise InvalidBundle(f"{where} has over {MAX_SIGNATURE_BYTES} bytes, more than any signature; do not trust it")
    return signature


class Signer:
    """The owner of a key, whose signature bundles must have.

    Raises:
        InvalidInput: `key` is not a public key that the format knows.
        MissingBackend: model-signing is not installed.
    """

    def __init__(self, key: Path) -> None:
        self.key = key
        self._upstream = _upstream()
        try:
            self._upstream.verifying.Config().use_elliptic_key_verifier(public_key=key)
        except Exception as error:  # whatever those bytes are
            raise InvalidInput(f"{key} is not a public key ({words_of(error)}); {_KEY}") from None

    def check(self, folder: Path, signature: bytes | None, where: str) -> None:
        """Check that the signature is this signer's, and over the files that are in the folder; `where` names it.

        Raises:
            InvalidBundle: there is none, it is damaged or somebody else's, or files were altered, added or removed
                since, of which each is named.
        """
        if differences := compare(signed_files(signature, where), self._hashes(folder, where)):
            raise InvalidBundle(f"{where} is not what was signed: {differences}; do not trust it")
        import contextlib  # only checking needs them
        import sys

        verifier = self._upstream.verifying.Config().use_elliptic_key_verifier(public_key=self.key)
        with scratch_folder() as scratch, contextlib.redirect_stdout(sys.stderr):  # where it warns
            file = scratch / SIGNATURE  # closed when it is read: Windows opens no temporary file twice
            file.write_bytes(signature or b"")
            try:
                verifier.set_hashing_config(_hashing(self._upstream)).verify(folder, file)
            except Exception as error:  # whatever those bytes are
                raise InvalidBundle(
                    f"{where} was not signed with the key that belongs to {self.key} ({words_of(error)}); "
                    "do not trust it"
                ) from None

    def _hashes(self, folder: Path, where: str) -> dict[str, str]:
        try:
            found = _hashing(self._upstream).hash(folder)
        except (OSError, ValueError) as error:  # a pipe or a link to nowhere among the files
            raise InvalidBundle(
                f"{where} has something that no bundle has ({words_of(error)}); do not trust it"
            ) from None
        return {item.identifier: item.digest.digest_hex for item in found.resource_descriptors()}


def contents(bundle: Bundle) -> dict[str, str]:
    """What a signature has to be over: the SHA-256 of every file of a bundle, by name."""
    files = {name: record.sha256 for name, record in bundle.manifest.files.items()}
    return files | {MANIFEST: bundle.manifest_sha256}


def signed_files(signature: bytes | None, where: str) -> dict[str, str]:
    """The SHA-256 of every file that a signature is over, by name; whose it is has not been checked.

    Raises:
        InvalidBundle: there is none, it is damaged, or it is over other hashes than SHA-256 of whole files.
    """
    if signature is None:
        raise InvalidBundle(f"{where} is not signed, it has no {SIGNATURE}; its owner can sign it with aae-zoo sign")
    try:
        statement = parse_document(base64.b64decode(parse_document(signature)["dsseEnvelope"]["payload"]))
        how, resources = statement["predicate"]["serialization"], statement["predicate"]["resources"]
        method = f"{how['hash_type']} of {how['method']}"
        files = {str(resource["name"]): str(resource["digest"]) for resource in resources}
    except Exception as error:  # whatever those bytes are
        raise InvalidBundle(f"the signature of {where} is damaged ({words_of(error)}); do not trust it") from None
    if method != "sha256 of files":
        raise InvalidBundle(
            f"the signature of {where} is over {method[:80]!r}, expected sha256 of files; sign it again"
        )
    return files


def compare(signed: Mapping[str, str], found: Mapping[str, str]) -> str:
    """What differs between files that were signed and those that are there, by their hashes: every name; or nothing."""
    kinds = {
        "altered": [name for name in signed if name in found and found[name] != signed[name]],
        "added": [name for name in found if name not in signed],
        "removed": [name for name in signed if name not in found],
    }
    return "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names)


def _hashing(upstream: Any) -> Any:
    # Links, because an installer's and those of the Hub's cache are allowed; others are refused where files are read.
    return upstream.hashing.Config().set_ignored_paths(paths=[SIGNATURE]).set_allow_symlinks(True)


def _upstream() -> Any:
    try:
        import model_signing
    except ModuleNotFoundError as error:
        raise MissingBackend(f"{error.name} is not installed; pip install 'aae-zoo[sign]' installs it") from None
    return model_signing
