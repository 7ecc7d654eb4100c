"""The Hub: its repositories as a source of models, and its failures as our errors.

The one file of the runtime that imports huggingface_hub, and only inside functions. That client's session, token,
look-up and errors are used as they are, with our own patience (the client waits 23 s for a server that is down, and
forever for one that says nothing), and streams are ours: they resume after a kill, and what they bring is checked.
"""

import os
import re
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from aae_zoo.runtime.errors import (
    AaeZooError,
    HubError,
    InvalidBundle,
    InvalidInput,
    MissingBackend,
    ModelNotFound,
    reinstalling,
)
from aae_zoo.runtime.escapes import note, words_of
from aae_zoo.runtime.files import NO_ROOM
from aae_zoo.runtime.store.source import COMMIT

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.errors import HfHubHTTPError

_Answer = TypeVar("_Answer")

# Seconds before each further try after a failure that may pass; a server that asks for more than LONGEST is believed.
WAITS: Final = [0.5, 1.0, 2.0, 4.0]
LONGEST: Final = 30.0
# Seconds for which a server may say nothing while it is published to: it is busy with what it was sent, some of which
# may still be on its way from the buffers of this machine, over a slow line.
SILENCE: Final = 120.0
# What reading certificates fails with: as it is, where all that is of the network is an error of the HTTP library.
_UNREADABLE: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, SSLError)
_PASSING: Final = (429, 500, 502, 503, 504)
_LOGIN: Final = "log in with hf auth login, or set HF_TOKEN"
# What leads to the Hub beside HF_ENDPOINT: named where the way is wrong, if it is set.
_WAY: Final = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def check_settings() -> None:
    """Refuse what the Hub's client cannot read, for which its import fails; call this before that.

    Raises:
        InvalidInput: HF_HUB_ETAG_TIMEOUT or HF_HUB_DOWNLOAD_TIMEOUT is not a whole number, or HF_ENDPOINT not an
            address.
    """
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        value = os.environ.get(name, "10")
        if not (value.isascii() and value.isdigit()):
            raise InvalidInput(
                f"{name} is {value!r}, expected a whole number of seconds such as 10; mend it, or unset it"
            )
    address = os.environ.get("HF_ENDPOINT")
    if address and not _is_address(address, ("http", "https")):
        shown = _without_password(address)
        raise InvalidInput(f"HF_ENDPOINT is {shown!r}, expected an address such as https://huggingface.co")


def endpoint() -> str:
    """The address of the Hub: $HF_ENDPOINT, a mirror or the Hub's own.

    Raises:
        InvalidInput: as for `check_settings`.
    """
    check_settings()
    from huggingface_hub import constants

    # The client takes one that is set and empty as it is.
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT or constants.HUGGINGFACE_CO_URL_HOME).rstrip("/")


def shown_endpoint() -> str:
    """The address of the Hub as people are told it: that of a mirror may have a password.

    Raises:
        InvalidInput: as for `endpoint`.
    """
    return _without_password(endpoint())


def _without_password(text: str) -> str:
    return re.sub(r"//\S*@", "//", text)


def _is_address(address: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(address)
        named = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False
    return named and not re.search(r"[\s?#]", address)


def _check_proxies() -> None:
    """Refuse proxies that the client cannot read: it has no own error for them, and may show a part of a password.

    Raises:
        InvalidInput: with the variable's name.
    """
    for scheme, address in getproxies_environment().items():
        whole = address if "://" in address else f"http://{address}"
        if scheme in ("all", "http", "https") and not _is_address(whole, ("http", "https", "socks5", "socks5h")):
            raise InvalidInput(
                f"{scheme.upper()}_PROXY is not the address of a proxy, expected one such as "
                "http://USER:PASSWORD@HOST:3128 with %23 for # and the like in the password; mend it, or unset it"
            )


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn any error of the Hub's client into one error of ours that begins with `what`, such as org/name@main.

    What is no matter of the Hub, a fault of our own or a file of this machine, stays as it is.

    Raises:
        ModelNotFound: no such repository or revision.
        InvalidBundle: the repository lacks a file.
        HubError: the Hub cannot be reached, refuses, or fails; no or a wrong token; HF_HUB_OFFLINE is set.
        MissingBackend: the proxy needs a package that is not installed.
        InvalidInput: as for `check_settings`, or the address of a proxy is not one.
    """
    check_settings()
    _check_proxies()
    from huggingface_hub import errors

    try:
        yield
    except AaeZooError:
        raise
    except errors.OfflineModeIsEnabled:
        raise HubError(f"{what}: HF_HUB_OFFLINE is set, so the Hub is not asked; unset it") from None
    except errors.HFValidationError as error:
        raise InvalidInput(f"{what}: {_line(error)}; expected a repository ORG/NAME") from None
    except errors.LocalTokenNotFoundError:
        raise HubError(f"{what}: there is no token; {_LOGIN}") from None
    except errors.HfHubHTTPError as error:
        raise _refusal(what, error) from None
    except (_http_error(), OSError) as error:
        if _is_local(error):
            raise
        raise _unreachable(what, error) from None
    except ImportError as error:
        if "socksio" not in str(error):
            raise
        mend = reinstalling("pip install socksio")
        raise MissingBackend(f"{what}: the proxy that is set speaks SOCKS, which needs socksio; {mend}") from None
    except UnicodeEncodeError:
        raise HubError(f"{what}: the token has characters that no token has; {_LOGIN}") from None
    except Exception as error:  # of any kind: the client reads answers as if each were a Hub's
        if _is_local(error):
            raise
        raise _unexpected(what, error) from None


def _is_local(error: BaseException) -> bool:
    """Whether an error is of a file of this machine, or of other code than the client and its HTTP library."""
    if getattr(error, "filename", None) is not None or getattr(error, "errno", None) in NO_ROOM:
        return True
    client = {"huggingface_hub", _http_error().__module__.partition(".")[0]}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return not any(str(frame.f_globals.get("__name__")).partition(".")[0] in client for frame in frames)


def _unexpected(what: str, error: Exception) -> Exception:
    """The error for what the client has no error of its own for, or hides behind another one."""
    from huggingface_hub import errors

    cause = error.__cause__  # of metadata that are refused, or of an upload that failed
    if isinstance(cause, OSError) and _is_local(cause):
        return cause
    if isinstance(error, ValueError) and isinstance(cause, errors.HfHubHTTPError):
        return HubError(f"{what}: the Hub refuses what it was sent: {words_of(error)}; mend that and publish again")
    if isinstance(cause, errors.HfHubHTTPError):
        return _refusal(what, cause)
    if isinstance(cause, _http_error()):
        return _unreachable(what, cause)
    reason = f"{type(error).__name__}: {_line(error)}"
    return HubError(f"{what}: {shown_endpoint()} does not answer as a Hub ({reason}); {_way()}")


def _http_error() -> type[Exception]:
    """The base of the client's HTTP errors: its HTTP library's, which changed its name once and is not imported."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__mro__[1]
    return base


def _way() -> str:
    """What to look at where an answer is missing, or not the Hub's."""
    names = [name for name in _WAY if os.environ.get(name) or os.environ.get(name.lower())]
    return f"check {', '.join(['the network', *names])} and HF_ENDPOINT"


def _unreachable(what: str, error: Exception) -> HubError:
    reason = f"{type(error).__name__}: {_line(error)}"
    if type(error) in _UNREADABLE and (file := os.environ.get("SSL_CERT_FILE")):  # read before anything is asked
        return HubError(
            f"{what}: SSL_CERT_FILE is {file!r}, expected a file (PEM) with certificates ({reason}); mend it"
        )
    return HubError(f"{what}: the Hub at {shown_endpoint()} cannot be reached ({reason}); {_mend(error)}")


def _mend(error: Exception) -> str:
    """What to do where nobody answers, or who cannot be trusted."""
    if re.search("not yet valid|has expired", str(error)):
        return f"see whether the clock of this machine is right, which says {time.strftime('%Y-%m-%d')}"
    if "CERTIFICATE" in str(error):
        return "where your network or mirror has a certificate of its own, set SSL_CERT_FILE to a file (PEM) with it"
    return f"{_way()}, and try again"


def _refusal(what: str, error: "HfHubHTTPError") -> AaeZooError:
    """The error for an answer of the Hub that reports one."""
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        page = f"{shown_endpoint()}/{what.partition('@')[0]}"
        return HubError(f"{what} is gated: ask for access at {page}, then {_LOGIN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNotFound(
            f"{what}: {shown_endpoint()} has no such repository, or it is private; check the name, or {_LOGIN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFound(f"{what}: the repository has no such revision; give another branch, tag or commit")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return InvalidBundle(
            f"{what}: the repository lacks a file that a bundle has ({str(error.response.url).rpartition('/')[2]}); "
            "publish it with aae-zoo publish, or pull another revision"
        )
    if isinstance(error, errors.DisabledRepoError):
        return HubError(f"{what}: the Hub has disabled this repository; ask its owner, or take another")
    if status == 400:
        return HubError(f"{what}: the Hub refuses what it was sent (400: {_line(error)}); mend that and try again")
    is_page = "html" in error.response.headers.get("Content-Type", "")  # of a proxy: the Hub's own errors are none
    if status == 401 or (status == 403 and not is_page):
        return HubError(f"{what}: the Hub forbids it ({status}: {_line(error)}); {_LOGIN} of somebody who may")
    wait = retry_after(error)
    mend = "try again later" if wait is None else f"try again in {wait:.0f} s"
    if status not in (*_PASSING, 409, 412):  # which a later try does not mend
        mend = _way()
    return HubError(f"{what}: the Hub at {shown_endpoint()} failed ({status}: {_line(error)}); {mend}")


def retry_after(error: Exception) -> float | None:
    """The seconds that an answer asks to wait, if it does: by the header of any server, or the Hub's own."""
    from huggingface_hub.utils import parse_ratelimit_headers

    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        limit = parse_ratelimit_headers(headers)
        return float(limit.reset_in_seconds) if limit and limit.remaining == 0 else None


def status_of(error: Exception) -> int | None:
    """The status of the answer that an error is about, if there was one."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


class Patience:
    """How often a failure that may pass is tried again, since the last progress.

    `transport`: also one without an answer; `tells`: stderr says how long is waited.
    """

    def __init__(self, *, transport: bool, tells: bool = False) -> None:
        self.transport, self.tells = transport, tells
        self.progress()

    def progress(self) -> None:
        """Begin again: what comes now is a first failure."""
        self.left = list(WAITS)

    def wait(self, error: Exception) -> None:
        """Wait before another try, or raise `error` where another try makes no sense."""
        status = status_of(error)
        broken = self.transport and isinstance(error, _http_error()) and "CERTIFICATE" not in str(error)
        passing = broken if status is None else status in _PASSING
        asked = retry_after(error)
        if not passing or not self.left or (asked or 0) > LONGEST:
            raise error
        usual = self.left.pop(0)
        pause = usual if asked is None else asked
        if self.tells:
            note(f"waiting {pause:g} s before another try ({status or type(error).__name__}: {_line(error)})")
        time.sleep(pause)


def patiently(ask: Callable[[], _Answer]) -> _Answer:
    """What the Hub answers, asked again after failures that may pass: stderr says how long is waited."""
    patience = Patience(transport=True, tells=True)
    while True:
        try:
            return ask()
        except Exception as error:
            patience.wait(error)


def limit_silence() -> None:
    """Have the client's session wait no longer than SILENCE where it would for ever: where it sets no limit itself."""
    from huggingface_hub.utils import get_session

    hooks = get_session().event_hooks["request"]
    if _limit_silence not in hooks:
        hooks.append(_limit_silence)


def _limit_silence(request: Any) -> None:
    limits = request.extensions["timeout"]
    request.extensions["timeout"] = {name: SILENCE if limit is None else limit for name, limit in limits.items()}


@contextmanager
def without_xet() -> Iterator[None]:
    """Have the client upload by HTTP: some Hubs lack Xet, whose waiting neither a time limit nor Ctrl-C ends."""
    from huggingface_hub import constants

    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


class HubSource:
    """A repository at one commit: what `revision` names when this is made.

    Raises (all methods): what `hub_errors` raises.
    """

    def __init__(self, repository: str, revision: str) -> None:
        self.repository, self.revision = repository, revision
        self.where = f"{repository}@{revision}"
        self._token: bool | None = None  # the client's own: from the environment or its login
        with hub_errors(self.where):
            info = self._look_up()
            self.commit = str(info.sha)
            self._files = {file.rfilename for file in info.siblings or ()}
            if COMMIT.fullmatch(revision) and self.commit != revision:
                raise HubError(
                    f"{self.where}: {shown_endpoint()} answers with the commit {self.commit}, expected {revision}; "
                    "set HF_ENDPOINT to another mirror"
                )
        self.exactly = f"{repository}@{self.commit}"

    def _look_up(self) -> "ModelInfo":
        """The commit and its files, within the client's own short limit of seconds ($HF_HUB_ETAG_TIMEOUT)."""
        from huggingface_hub import HfApi, constants

        api, timeout = HfApi(endpoint=endpoint()), constants.HF_HUB_ETAG_TIMEOUT
        patience = Patience(transport=False)
        while True:
            try:
                return api.model_info(self.repository, revision=self.revision, timeout=timeout, token=self._token)
            except Exception as error:
                if not self._goes_without_token(error):
                    patience.wait(error)

    def _goes_without_token(self, error: Exception) -> bool:
        """Whether to ask again without the token: an expired token must not stand in the way of a public model."""
        from huggingface_hub import get_token

        if status_of(error) != 401 or self._token is False or not get_token():
            return False
        warnings.warn(
            f"{shown_endpoint()} refuses the token that is set, going on without it; {_LOGIN}",
            RuntimeWarning,
            stacklevel=2,
        )
        self._token = False
        return True

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._files

    def chunks(self, name: str, start: int) -> Iterator[bytes]:
        """The content of a file from byte `start` on; where the connection breaks, it goes on from there."""
        patience = Patience(transport=True)
        with hub_errors(self.where):
            while True:
                try:
                    for chunk in self._stream(name, start):
                        start += len(chunk)
                        patience.progress()
                        yield chunk
                    return
                except Exception as error:
                    patience.wait(error)

    def _stream(self, name: str, start: int) -> Iterator[bytes]:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(self.repository, name, revision=self.commit, endpoint=endpoint())
        # As it is: a compressed stream could not be resumed.
        headers = build_hf_headers(token=self._token) | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
            if start and response.status_code == 416:
                return  # the file is complete
            hf_raise_for_status(response)
            skip = start if response.status_code == 200 else 0  # a mirror without ranges sends all of it
            for chunk in response.iter_bytes():
                rest = chunk[skip:]
                skip -= len(chunk) - len(rest)
                if rest:
                    yield rest

    @contextmanager
    def progress(self, name: str, total: int, done: int) -> Iterator[Callable[[int], object]]:
        """A bar of the bytes on a terminal's stderr: gives what to call with the bytes of each chunk."""
        from huggingface_hub.utils import tqdm

        options: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": None, "dynamic_ncols": True}
        with tqdm(desc=name, total=total, initial=done, **options) as bar:
            yield bar.update


def _line(error: Exception) -> str:
    """The first line of what went wrong; the server's own words where it sent some."""
    text = getattr(error, "server_message", None) or str(error)
    found = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return _without_password(found)[:200]
