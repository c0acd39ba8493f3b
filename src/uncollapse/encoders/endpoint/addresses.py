"""Where an endpoint is, what the model is called there, and which key may go to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from uncollapse.errors import ModelError

KEY = "UNCOLLAPSE_API_KEY"
"""Environment variable of the key for any endpoint."""

OPENAI_KEY, OPENAI_HOST = "OPENAI_API_KEY", "openai.com"
"""Environment variable of a key that goes to this host only, as it was given out for it."""

OVER_HTTP = "UNCOLLAPSE_KEY_OVER_HTTP"
"""Environment variable that, set to `yes`, lets a key go unencrypted to another machine."""

FORM = "Write it as URL#MODEL, such as http://localhost:8080/v1#all-minilm."

_ROUTE = "/embeddings"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL without credentials, and a model's name.

    Args:
        url: what `/embeddings` is put behind; never with a user, password or query.
        model: what the server calls the model.
    """

    url: str
    model: str

    def __str__(self) -> str:
        return f"{self.url}#{self.model}"

    @property
    def route(self) -> str:
        """Where texts are sent."""
        return self.url + _ROUTE

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def is_encrypted(self) -> bool:
        return self.url.startswith("https://")

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class Secret:
    """A key that does not show when it is printed."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret()"

    def hide(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._value, "[key]")

    def header(self) -> dict[str, str]:
        """What shows the key to the server."""
        return {"Authorization": f"Bearer {self._value}"}


def is_url(name: str) -> bool:
    """Whether the name of a model is that of an endpoint.

    >>> is_url("https://api.openai.com/v1#text-embedding-3-small"), is_url("minilm")
    (True, False)
    """
    return name.lower().startswith(("http://", "https://"))


def read_address(name: str) -> Address:
    """Take the name of an endpoint apart.

    Args:
        name: a URL, `#`, and what the server calls the model. The URL may end in /embeddings, or leave that out.

    Raises:
        ModelError: no URL, no model, or a URL with a user, password or query, which could be secret.

    >>> read_address("http://localhost:11434/v1/#nomic-embed-text:latest")
    Address(url='http://localhost:11434/v1', model='nomic-embed-text:latest')
    """
    url, _, model = name.partition("#")
    if "@" in url or "?" in url:  # what is secret must not be shown, so the URL is not
        raise ModelError(
            "Expected a URL without a user, password or query (no '@', no '?'): these would be shown in reports. "
            f"Put the key into the environment variable {KEY}."
        )
    try:
        parts = urlsplit(url)
        usable = is_url(url) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(not 32 < ord(character) < 127 for character in url):
        raise ModelError(f"Expected the URL of an endpoint, got {url!r}. {FORM}")
    if not model.strip():
        raise ModelError(
            f"Expected the name of a model behind the URL, got {name!r}. {FORM} A server of one model may take any."
        )
    return Address(_tidy(parts), model.strip())


def _tidy(parts: SplitResult) -> str:
    """The URL in one spelling, so that vectors which were kept are found again."""
    path = parts.path.rstrip("/").removesuffix(_ROUTE).rstrip("/")
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, "", ""))


def read_key(address: Address, environment: Mapping[str, str]) -> Secret | None:
    """The key for an endpoint, from the environment; None where there is none.

    Args:
        address: of the endpoint.
        environment: such as `os.environ`.

    Raises:
        ModelError: a key that cannot be sent, or that would go unencrypted to another machine.
    """
    name = KEY
    if not environment.get(KEY, "").strip() and _is_openai(address.host):
        name = OPENAI_KEY
    value = environment.get(name, "").strip()
    if not value:
        return None
    if any(not 32 < ord(character) < 127 or character in '"\\' for character in value):
        raise ModelError(f"The key in {name} holds characters that no key has, such as blanks. Set it anew.")
    if not (address.is_encrypted or address.is_here or environment.get(OVER_HTTP) == "yes"):
        raise ModelError(
            f"The key in {name} would go unencrypted to {address.host}, where anybody on the way can read it. Use "
            f"https://, unset {name} if the server needs no key, or set {OVER_HTTP}=yes if you trust the way."
        )
    return Secret(value)


def _is_openai(host: str) -> bool:
    return host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}")
