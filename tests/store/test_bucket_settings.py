"""Where a bucket is and how to log in: locations, variables and files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.errors import ConfigError, StorageError
from archiver.store.bucket_settings import parse_location, read_bucket_settings

URL = "s3://bucket/archive"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose home directory has no AWS files yet."""
    (tmp_path / ".aws").mkdir()
    return {"HOME": str(tmp_path)}


def write(home: dict[str, str], name: str, text: str) -> None:
    (Path(home["HOME"]) / ".aws" / name).write_text(text)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://my.bucket-1/a/b_c/", ("my.bucket-1", "a/b_c")),
    ],
)
def test_a_location_is_a_bucket_and_a_prefix(url: str, parts: tuple[str, str]) -> None:
    """The prefix may be absent, and a slash at the end means nothing."""
    assert parse_location(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3:///a", "s3:/bucket", "https://bucket/a", "S3://bucket", "bucket", ""),
        *("s3://bucket/a?x=1", "s3://bucket/a#x", "s3://bucket?versions", "s3://b"),
        *(
            "s3://bucket/../other",
            "s3://bucket/a/./b",
            "s3://bucket/a//b",
            "s3://bucket//",
            "s3://bucket/a b",
        ),
        *(
            "s3://bucket/a%2e%2e/b",
            "s3://bucket/a\n",
            "s3://bücket/a",
            "s3://bucket/a\\b",
            "s3://..",
            "s3://-ab",
        ),
    ],
)
def test_other_locations_are_refused(url: str) -> None:
    """No bucket, a query, a fragment, or a path that may leave the prefix is a ConfigError."""
    with pytest.raises(ConfigError):
        parse_location(url)


@pytest.mark.parametrize(
    "url", ["s3://CANARYID:canary-key@bucket/a", "s3://CANARYID:can/ary-key@bucket", "s3://CANARYID@bucket"]
)
def test_access_keys_in_a_location_are_refused_and_not_quoted(url: str) -> None:
    """A location with access keys is refused, also if the secret contains a slash; the error has none."""
    with pytest.raises(ConfigError, match="contains access keys") as caught:
        parse_location(url)
    assert "anary" not in f"{caught.value!r} {caught.value.hint}".lower()


def test_variables_of_the_environment_come_first(home: dict[str, str]) -> None:
    """Keys, token, region and endpoint of the environment win over those of the files."""
    write(home, "credentials", "[default]\naws_access_key_id=AKIAFILE\naws_secret_access_key=file\n")
    write(home, "config", "[default]\nregion=eu-west-1\nendpoint_url=https://file.example\n")
    settings = read_bucket_settings(
        URL,
        home
        | KEYS
        | {
            "AWS_SESSION_TOKEN": "token",
            "AWS_DEFAULT_REGION": "us-east-2",
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": "https://general.example",
            "AWS_ENDPOINT_URL_S3": "https://s3.example/",
        },
    )
    assert settings.login == {
        "access_key_id": "AKIAENV",
        "secret_access_key": "env-secret",
        "session_token": "token",
    }
    assert (settings.region, settings.endpoint) == ("eu-central-1", "https://s3.example")
    assert settings.location.url == URL


def test_without_files_and_endpoint_the_store_is_that_of_aws(home: dict[str, str]) -> None:
    """The default endpoint is that of AWS, in its default region."""
    settings = read_bucket_settings(URL, home | KEYS)
    assert (settings.region, settings.endpoint) == ("us-east-1", "")


@pytest.mark.parametrize("title", ["profile night", "night"])
def test_a_profile_is_read_from_both_files(home: dict[str, str], title: str) -> None:
    """Keys come from the credentials file, region and endpoint from the configuration file."""
    write(
        home,
        "credentials",
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = x\n"
        "[night]\naws_access_key_id = AKIANIGHT\naws_secret_access_key = 50%of/it\naws_session_token = t\n",
    )
    write(
        home,
        "config",
        f"# comment\n[{title}]\nregion = eu-west-3\ns3 =\n  max_queue_size = 5\nendpoint_url = https://n.example\n",
    )
    settings = read_bucket_settings(URL, home | {"AWS_PROFILE": "night"})
    assert settings.login["access_key_id"] == "AKIANIGHT"
    assert settings.login["secret_access_key"] == "50%of/it"
    assert settings.login["session_token"] == "t"
    assert (settings.region, settings.endpoint) == ("eu-west-3", "https://n.example")
    assert read_bucket_settings(URL, home).login["access_key_id"] == "AKIADEFAULT"


def test_the_files_may_be_elsewhere(home: dict[str, str], tmp_path: Path) -> None:
    """AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name other files."""
    (tmp_path / "c").write_text("[default]\naws_access_key_id=AKIAELSE\naws_secret_access_key=x\n")
    (tmp_path / "d").write_text("[default]\nregion=ap-south-1\n")
    settings = read_bucket_settings(
        URL,
        home | {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "c"), "AWS_CONFIG_FILE": str(tmp_path / "d")},
    )
    assert (settings.login["access_key_id"], settings.region) == ("AKIAELSE", "ap-south-1")


def test_the_token_file_of_a_web_identity_is_used(home: dict[str, str]) -> None:
    """A token file and a role are a login; keys in the environment come before it, a profile after it."""
    identity = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}
    write(home, "credentials", "[default]\naws_access_key_id=AKIAFILE\naws_secret_access_key=x\n")
    assert read_bucket_settings(URL, home | identity).login == {
        "web_identity_token_file": "/token",
        "role_arn": "arn:aws:iam::1:role/x",
    }
    assert "access_key_id" in read_bucket_settings(URL, home | identity | KEYS).login


def test_the_role_of_a_container_is_used(home: dict[str, str]) -> None:
    """A relative URI, or a full one with its token file, is a login. Without it, nothing may be asked."""
    relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}
    full = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1"}
    token = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/token"}
    assert read_bucket_settings(URL, home | relative).login == {"container_credentials_relative_uri": "/v2/x"}
    assert len(read_bucket_settings(URL, home | full | token).login) == 2
    with pytest.raises(ConfigError, match="TOKEN_FILE"):
        read_bucket_settings(URL, home | full)


def test_without_keys_the_metadata_service_must_be_allowed(home: dict[str, str]) -> None:
    """No keys anywhere is an error that says what to set, unless the metadata service is allowed."""
    with pytest.raises(StorageError, match="no access keys") as caught:
        read_bucket_settings(URL, home)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert read_bucket_settings(URL, home, allow_metadata_service=True).login == {}


@pytest.mark.parametrize(
    ("endpoint", "allowed", "is_accepted"),
    [
        ("http://127.0.0.1:9000", "", False),
        ("http://127.0.0.1:9000", "false", False),
        ("http://127.0.0.1:9000", "true", True),
        ("https://s3.example", "", True),
        ("ftp://s3.example", "true", False),
        ("s3.example", "true", False),
        ("https://", "true", False),
        ("https://id:canary@s3.example", "true", False),
        ("https://s3.example?x", "true", False),
        ("https://[", "true", False),
    ],
)
def test_plain_http_must_be_allowed(
    home: dict[str, str], endpoint: str, allowed: str, is_accepted: bool
) -> None:
    """An endpoint is a URL with https, or with http if AWS_ALLOW_HTTP=true; its error quotes no key."""
    environment = home | KEYS | {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": allowed}
    if is_accepted:
        assert read_bucket_settings(URL, environment).endpoint == endpoint.rstrip("/")
        return
    with pytest.raises(ConfigError) as caught:
        read_bucket_settings(URL, environment)
    assert "canary" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIA"}, "no secret access key"),
        ({"AWS_SECRET_ACCESS_KEY": "canary"}, "no access key id"),
        ({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "canary\u2013x"}, "invalid character"),
        ({"AWS_PROFILE": "absent"}, "no profile 'absent'"),
        ({"AWS_PROFILE": "sso"}, "sso_session"),
        ({"AWS_CONFIG_FILE": "."}, "cannot be read"),
        ({"AWS_SHARED_CREDENTIALS_FILE": "broken"}, "not a valid AWS file"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    home: dict[str, str],
    changed: dict[str, str],
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a key, a missing profile, an unknown login and a broken file are errors without secrets."""
    monkeypatch.chdir(tmp_path)
    write(home, "config", "[profile sso]\nsso_session = x\n")
    (tmp_path / "broken").write_text("aws_secret_access_key = canary\n")
    with pytest.raises(ConfigError, match=match) as caught:
        read_bucket_settings(URL, home | changed)
    assert "canary" not in f"{caught.value!r}{caught.value.hint}{caught.value.__cause__!r}"


def test_settings_show_no_key(home: dict[str, str]) -> None:
    """The repr of the settings has no keys."""
    assert "secret" not in repr(read_bucket_settings(URL, home | KEYS))
