"""Where a bucket is and how to log in to it: ``s3://bucket/prefix``, AWS variables, AWS files.

Access keys are looked for in the order of AWS's own tools: the environment, the token file of a web identity,
the profile in the credentials and configuration files, the role of a container, and, if allowed, the
instance metadata service. https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from archiver.errors import ConfigError, StorageError
from archiver.model.values import repr_without

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_SEGMENT = re.compile(r"[A-Za-z0-9._=+-]+")
_DEFAULT_REGION = "us-east-1"
PLAIN_HTTP_WARNING = "AWS_ALLOW_HTTP is set: names and bytes may travel to the store unencrypted"

_AWS_HOSTS = ("amazonaws.com", "amazonaws.com.cn")
_SERVICES_OF_A_MACHINE = ("169.254.169.254", "169.254.170.2")

_IDENTITY = {"web_identity_token_file": "AWS_WEB_IDENTITY_TOKEN_FILE", "role_arn": "AWS_ROLE_ARN"}
_CONTAINER_FULL = {
    "container_credentials_full_uri": "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "container_authorization_token_file": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}
_UNSUPPORTED = ("credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source")


class BucketLocation(NamedTuple):
    """A bucket, and a prefix in it: names without a slash at either end, or ''."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The location without a slash at its end: ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class BucketSettings(Struct, frozen=True):
    """Everything that is needed to open a bucket. ``login`` holds secrets, and ``repr`` leaves it out.

    ``endpoint``: a URL, or '' for AWS itself. ``login``: options of the client that say how to log in; ''
    values are left out. ``hosts``: the only hosts that requests may reach, each with those below it; () if a
    proxy of the environment leads to the store, and decides.
    """

    location: BucketLocation
    endpoint: str
    region: str
    allow_http: bool
    login: dict[str, str]
    hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return repr_without(self, "login")


def read_bucket_settings(
    url: str, environment: Mapping[str, str], *, allow_metadata_service: bool = False
) -> BucketSettings:
    """Return the settings for ``s3://bucket/prefix``, from the environment and the files that it names.

    Raises ConfigError if the URL, a variable or a file cannot be used, StorageError if there are no access
    keys. No message quotes a key.
    """
    location = parse_location(url)
    profile = _read_profile(environment)
    allow_http = allows_http(environment)
    endpoint = (
        environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url", "")
    ).rstrip("/")
    _check_endpoint(endpoint, allow_http)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or profile.get("region")
    login = _find_login(environment, profile)
    if login is None and not allow_metadata_service:
        raise StorageError(
            f"there are no access keys for {location.url}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    hosts = () if _has_proxy(environment, endpoint) else _hosts(environment, endpoint, login or {})
    return BucketSettings(location, endpoint, region or _DEFAULT_REGION, allow_http, login or {}, hosts)


def allows_http(environment: Mapping[str, str]) -> bool:
    """Return whether the environment allows a store that is reached over plain http."""
    return environment.get("AWS_ALLOW_HTTP", "").strip().lower() in ("true", "1")


def parse_location(url: str) -> BucketLocation:
    """Parse ``s3://bucket/prefix``. Raises ConfigError, which never quotes a key."""
    example = "use s3://bucket/prefix"
    scheme, separator, rest = url.partition("://")
    if scheme != "s3" or not separator:
        raise ConfigError("the location of the store does not begin with s3://", example)
    if "@" in rest or ":" in rest:  # a secret key may contain slashes
        raise ConfigError(
            "the location of the store contains access keys",
            "remove them and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if "?" in rest or "#" in rest:
        raise ConfigError("the location of the store contains ? or #", example)
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise ConfigError("the location of the store names no bucket", example)
    if _BUCKET.fullmatch(bucket) is None:
        raise ConfigError("the location of the store does not begin with the name of a bucket", example)
    segments = prefix.removesuffix("/").split("/") if prefix else []
    for segment in segments:
        if segment in (".", "..") or _SEGMENT.fullmatch(segment) is None:
            raise ConfigError(
                f"{segment!r} cannot be a part of the location s3://{bucket}",
                "use letters, digits and . _ = + -",
            )
    return BucketLocation(bucket, "/".join(segments))


def _check_endpoint(endpoint: str, allow_http: bool) -> None:
    if not endpoint:
        return
    try:
        parts = urlsplit(endpoint)
        has_host, has_keys = bool(parts.hostname), "@" in parts.netloc
    except ValueError:
        parts, has_host, has_keys = urlsplit(""), False, False
    if parts.scheme not in ("http", "https") or not has_host or has_keys or parts.query or parts.fragment:
        raise ConfigError("the endpoint of the store is not a URL such as https://host:port")
    if parts.scheme == "http" and not allow_http:
        raise ConfigError(
            f"the endpoint {endpoint} is not encrypted",
            "use https, or set AWS_ALLOW_HTTP=true if the network between is safe",
        )


def _has_proxy(environment: Mapping[str, str], endpoint: str) -> bool:
    """Return whether the environment names a proxy for requests to the store."""
    parts = urlsplit(endpoint or "https://amazonaws.com")
    named = {name.lower().removesuffix("_proxy"): url for name, url in environment.items() if url}
    if parts.scheme not in named and "all" not in named:
        return False
    # Imported here, since it takes a twentieth of a second.
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    return not proxy_bypass_environment(parts.netloc, {"no": named.get("no", "")})


def _hosts(environment: Mapping[str, str], endpoint: str, login: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts of the store, and of the service that gives its keys."""
    hosts: list[str | None] = [urlsplit(endpoint).hostname] if endpoint else [*_AWS_HOSTS]
    if "container_credentials_full_uri" in login:
        hosts.append(urlsplit(login["container_credentials_full_uri"]).hostname)
    elif "web_identity_token_file" in login:
        hosts += _AWS_HOSTS
    elif not login or "container_credentials_relative_uri" in login:
        hosts += [urlsplit(environment.get("AWS_METADATA_ENDPOINT", "")).hostname, *_SERVICES_OF_A_MACHINE]
    return tuple(host for host in hosts if host is not None)


def _find_login(environment: Mapping[str, str], profile: Mapping[str, str]) -> dict[str, str] | None:
    """Return the first usable login; None if only the metadata service is left."""
    if login := _static_keys(
        environment.get("AWS_ACCESS_KEY_ID", ""),
        environment.get("AWS_SECRET_ACCESS_KEY", ""),
        environment.get("AWS_SESSION_TOKEN", ""),
        "the environment",
    ):
        return login
    if (login := _variables(environment, _IDENTITY)) and len(login) == len(_IDENTITY):
        if session := environment.get("AWS_ROLE_SESSION_NAME"):
            login["role_session_name"] = session
        return login
    if login := _profile_login(profile):
        return login
    if uri := environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return {"container_credentials_relative_uri": uri}
    login = _variables(environment, _CONTAINER_FULL)
    if "container_credentials_full_uri" not in login:
        return None
    if len(login) < len(_CONTAINER_FULL):  # the client would ask the metadata service instead
        raise ConfigError(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is set, but AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not",
            "set both",
        )
    return login


def _static_keys(key_id: str, secret: str, token: str, source: str) -> dict[str, str]:
    """Return the login with access keys; {} if there are none."""
    key_id, secret, token = key_id.strip(), secret.strip(), token.strip()
    if not key_id and not secret:
        return {}
    if not key_id or not secret:
        missing = "secret access key" if key_id else "access key id"
        raise ConfigError(f"{source} has no {missing} for the store", "set both parts of the access key")
    if not all(re.fullmatch(r"[\x21-\x7e]*", text) for text in (key_id, secret, token)):
        raise ConfigError(
            f"an access key in {source} contains an invalid character", "copy it again, in one piece"
        )
    return {"access_key_id": key_id, "secret_access_key": secret} | (
        {"session_token": token} if token else {}
    )


def _variables(environment: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {option: environment[name] for option, name in names.items() if environment.get(name)}


def _profile_login(profile: Mapping[str, str]) -> dict[str, str]:
    name = f"the profile {profile['name']!r}" if profile else ""
    if login := _static_keys(
        profile.get("aws_access_key_id", ""),
        profile.get("aws_secret_access_key", ""),
        profile.get("aws_session_token", ""),
        name,
    ):
        return login
    if all(profile.get(option) for option in _IDENTITY):
        return {option: profile[option] for option in _IDENTITY}
    if unsupported := [key for key in _UNSUPPORTED if key in profile]:
        raise ConfigError(
            f"{name} uses {unsupported[0]}, which archiver does not support",
            "set the variables that this prints: aws configure export-credentials --format env",
        )
    return {}


def _read_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the profile's options from both files, and its ``name``; {} if no file has it.

    An option in the credentials file wins. Raises ConfigError if ``AWS_PROFILE`` names a missing profile.
    """
    name = environment.get("AWS_PROFILE", "")
    home = Path(environment.get("HOME") or Path.home())
    config = Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config").expanduser()
    credentials = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    wanted = name or "default"
    titles = (wanted,) if wanted == "default" else (f"profile {wanted}", wanted)
    options = _read_sections(config, titles) | _read_sections(credentials.expanduser(), (wanted,))
    if name and not options:
        raise ConfigError(
            f"there is no profile {name!r} in {credentials} or {config}", "correct AWS_PROFILE, or unset it"
        )
    return options and {**options, "name": wanted}


def _read_sections(path: Path, titles: tuple[str, ...]) -> dict[str, str]:
    """Return the options of the first of these sections that an AWS file has. A missing file has none."""
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        parser.read_string(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):  # their texts quote the file
        raise ConfigError(f"{path} is not a valid AWS file", "write it again with: aws configure") from None
    return next((dict(parser.items(title)) for title in titles if parser.has_section(title)), {})
