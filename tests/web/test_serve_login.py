"""Who may reach ``archiver serve`` from elsewhere, and how: login, TLS, a proxy, a Unix socket."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.config.config_files import read_login_token
from archiver.errors import ConfigError
from archiver.web.login import AttemptLimit, Login
from archiver.web.serve_options import ServeOptions
from tests.support.export_archive import ExportHarness
from tests.support.scripted_server import Authority
from tests.support.web_server import (
    SECONDS,
    Answer,
    ServedArchive,
    run_to_end,
    served,
    write_token,
)

TOKEN = "correct horse battery staple"
FORM = b"token=correct+horse+battery+staple"
PICTURE = "/media/ab/" + "ab" * 32 + ".jpg"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the token."""
    return write_token(tmp_path_factory.mktemp("token") / "token", TOKEN)


@pytest.fixture(scope="module")
def locked(archive: ExportHarness, token_file: Path) -> Iterator[ServedArchive]:
    """A server on loopback that asks for the token."""
    with served(archive.environ, "--token-file", str(token_file)) as running:
        yield running


def post(server: ServedArchive, form: bytes, path: str = "/login", **headers: str) -> Answer:
    """Send the login form as a browser does."""
    return server.ask(path, "POST", form, **{"Origin": server.address.rstrip("/"), **headers})  # type: ignore[arg-type]


def cookie_of(answer: Answer) -> str:
    """Return what the browser sends back."""
    return answer.headers["set-cookie"].partition(";")[0]


def test_only_who_logged_in_may_look(locked: ServedArchive) -> None:
    """Everything leads to the login page, except what that page needs and the check of the health."""
    for path in ("/", "/accounts/natgeo-787132/", PICTURE, "/nothing", "/item/1"):
        answer = locked.ask(path, Sec_Fetch_Mode="navigate")
        assert answer.status == 303
        assert re.fullmatch(r"(\.\./)*login\?next=[^/]*", answer.headers["location"])
    for path in ("/login", "/healthz", "/assets/site.css"):
        assert locked.ask(path).status == 200
    answer = post(locked, FORM, "/login?next=accounts%2Fnatgeo-787132%2F%3Fpage%3D1")
    assert (answer.status, answer.headers["location"]) == (303, "./accounts/natgeo-787132/?page=1")
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "secure" not in attributes  # this is http on loopback
    assert locked.ask("/", Cookie=cookie_of(answer)).status == 200
    assert locked.ask("/", Cookie=f"a=b; {cookie_of(answer)}").status == 200


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https:evil.example", "/\\evil.example", "\r\nset-cookie: a=b", "javascript:1"],
)
def test_fault_v7_a_login_leads_nowhere_else(locked: ServedArchive, wanted: str) -> None:
    """The page to go on with is relative to this one, whatever a link to the login page says."""
    from urllib.parse import quote, urljoin, urlsplit

    answer = post(locked, FORM, f"/login?next={quote(wanted, safe='')}")
    target = urlsplit(urljoin(f"{locked.address}login", answer.headers["location"]))
    assert answer.headers["location"].startswith("./")
    assert f"{target.scheme}://{target.netloc}/" == locked.address


def basic(password: str) -> str:
    """Return the header of a feed reader."""
    return "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()


def test_a_feed_reader_has_the_token_as_its_password(locked: ServedArchive) -> None:
    """For the feed, which asks for it, and for files, which it names. Pages want the cookie all the same."""
    for path in ("/feed.atom", PICTURE):
        asked = locked.ask(path)
        assert (asked.status, asked.headers["www-authenticate"]) == (
            401,
            'Basic realm="archiver", charset="UTF-8"',
        )
        assert asked.headers["cache-control"] == "no-store"
    for path, status in (("/feed.atom", 200), (PICTURE, 404)):  # let in, but no file has this name
        assert locked.ask(path, Authorization=basic(TOKEN)).status == status
    assert locked.ask("/", Authorization=basic(TOKEN)).status == 303
    for wrong in ("Basic", "Basic é", f"Bearer {TOKEN}", "Basic ////", basic("")):
        assert locked.ask("/feed.atom", Authorization=wrong.encode().decode("latin-1")).status == 401


@pytest.mark.parametrize(
    "sent",
    [
        {"Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
        {"Sec-Fetch-Dest": "video", "Authorization": "Basic ////"},
    ],
)
def test_a_browser_never_asks_for_a_password(locked: ServedArchive, sent: dict[str, str]) -> None:
    """For a file on a page whose login has ended: without a challenge, it shows no prompt."""
    answer = locked.ask(PICTURE, **sent)  # type: ignore[arg-type]
    assert (answer.status, answer.headers["location"][:18]) == (303, "../../login?next=m")
    assert "www-authenticate" not in answer.headers
    assert locked.ask(PICTURE, **{**sent, "Authorization": basic(TOKEN)}).status == 404  # type: ignore[arg-type]


def test_fault_v7_guesses_of_feed_readers_are_limited(archive: ExportHarness, token_file: Path) -> None:
    """Together with those at the login page; the right password uses up none."""
    with served(archive.environ, "--token-file", str(token_file)) as locked:
        for _ in range(12):
            assert locked.ask("/feed.atom", Authorization=basic(TOKEN)).status == 200
        tried = [locked.ask("/feed.atom", Authorization=basic(f"guess{n}")).status for n in range(10)]
        assert tried == [401] * 10
        for late in (locked.ask("/feed.atom", Authorization=basic(TOKEN)), post(locked, FORM)):
            assert late.status == 429
            assert (late.headers["retry-after"], late.headers["cache-control"]) == ("60", "no-store")


def test_fault_v7_guesses_are_limited(archive: ExportHarness, token_file: Path) -> None:
    """After ten, even the right token has to wait. Those who are logged in already stay so."""
    with served(archive.environ, "--token-file", str(token_file)) as locked:
        cookie = cookie_of(post(locked, FORM))
        answers = [post(locked, b"token=" + b"guess" * n).status for n in range(10)]
        assert answers == [403] * 10
        late = post(locked, FORM)
        assert late.status == 429
        assert "set-cookie" not in late.headers
        assert locked.ask("/", Cookie=cookie).status == 200


def test_fault_v7_attempts_come_back_slowly() -> None:
    """One in six seconds: 14,400 a day, against 2^64 tokens at least."""
    now = 0.0
    limit = AttemptLimit(lambda: now)
    assert [limit.take() for _ in range(12)] == [True] * 10 + [False] * 2
    now = 6.1
    assert [limit.take() for _ in range(2)] == [True, False]


def test_fault_v7_a_cookie_cannot_be_made(locked: ServedArchive) -> None:
    """Only this process signs them, for a time that is signed too."""
    name, _, value = cookie_of(post(locked, FORM)).partition("=")
    expiry, _, signature = value.partition(".")
    forged = (
        f"{int(expiry) + 1}.{signature}",
        f"{expiry}.{signature[:-1]}",
        f"{expiry}.",
        expiry,
        f".{signature}",
        "é.é".encode().decode("latin-1"),
        "",
    )
    for other in forged:
        assert locked.ask("/", Cookie=f"{name}={other}").status == 303


@pytest.mark.parametrize(
    "other", ['a={"b": 1, "c": 2}', "a b=1", "a", 'a="b', "a[1]=é", "archiver=1.a", "a=b; ;"]
)
def test_cookies_of_other_servers_do_not_matter(locked: ServedArchive, other: str) -> None:
    """Those of every port of this machine are sent here, before and after ours, whatever their form."""
    own = cookie_of(post(locked, FORM))
    for cookies in (f"{other}; {own}", f"{own}; {other}"):
        assert locked.ask("/", Cookie=cookies.encode().decode("latin-1")).status == 200


def test_fault_v7_cookies_are_read_in_no_time() -> None:
    """A value that is quoted and full of backslashes is no more work than another."""
    login = Login(b"", is_secure=False)
    scope = {"headers": [(b"cookie", b'archiver="' + b"\\" * 60_000 + b'"')]}
    began = time.monotonic()
    assert not login.is_logged_in(scope)
    assert time.monotonic() - began < 1


def test_a_login_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week."""
    login = Login(b"", is_secure=False)
    expiry = str(int(time.time()) + 60)
    value = f"{expiry}.{login._sign(expiry)}"
    scope = {"headers": [(b"cookie", f"archiver={value}".encode())]}
    assert login.is_logged_in(scope)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert not login.is_logged_in(scope)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_fault_v2_a_form_comes_from_this_server(locked: ServedArchive, headers: dict[str, str]) -> None:
    """A page of another origin can neither guess the token nor log somebody in."""
    answer = post(locked, FORM, **headers)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_fault_v2_only_the_login_is_posted(locked: ServedArchive) -> None:
    """And no form longer than it has to be."""
    assert post(locked, FORM, "/").status == 405
    assert post(locked, FORM, "/login/").status == 405
    assert post(locked, b"token=" + b"a" * 5000).status == 413
    assert post(locked, b"&".join([b"a=b"] * 1000)).status == 403
    assert locked.ask("/login", "POST", Transfer_Encoding="chunked").status == 411
    assert locked.ask("/login", "PUT").headers["allow"] == "GET, HEAD, POST"


def refusal(archive: ExportHarness, *words: str) -> str:
    """Return the message of a server that refuses to start, with code 2."""
    ended = run_to_end(archive.environ, *words)
    assert (ended.code, ended.out) == (2, "")
    return ended.err


def test_fault_v9_it_is_not_reached_from_elsewhere_by_mistake(
    archive: ExportHarness, token_file: Path
) -> None:
    """Without a login, without encryption, or without a host name it does not start off loopback."""
    token = "--token-file", str(token_file)
    everything = refusal(archive, "--host", "0.0.0.0")
    assert [name in everything for name in ("--token-file", "--tls-cert", "--allow-host")] == [True] * 3
    assert "in the clear" in refusal(archive, "--host", "0.0.0.0", *token)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ServeOptions(host="::"), "--token-file"),
        (ServeOptions(host="192.0.2.1"), "--token-file"),
        (ServeOptions(proxies=("127.0.0.1",)), "--token-file"),
        (ServeOptions(uds=Path("x")), "--token-file"),
        (ServeOptions(host="192.0.2.1", token_file=Path("t")), "in the clear"),
        (ServeOptions(host="0.0.0.0", token_file=Path("t"), proxies=("192.0.2.2",)), "--allow-host"),
        (ServeOptions(uds=Path("x"), token_file=Path("t")), "--allow-host"),
        (ServeOptions(tls_cert=Path("c")), "belong together"),
        (
            ServeOptions(
                uds=Path("x"), token_file=Path("t"), allow_hosts=("a.example",), proxies=("127.0.0.1",)
            ),
            "--behind-proxy",
        ),
        (ServeOptions(proxies=("proxy.example",)), "IP address"),
        (ServeOptions(host="192.0.2.1", proxies=("192.0.2.0/24",)), "IP address"),
    ],
)
def test_fault_v9_what_would_expose_the_archive_is_refused(options: ServeOptions, said: str) -> None:
    """Each of these with code 2, before anything is opened."""
    from archiver.errors import UsageError

    with pytest.raises(UsageError) as raised:
        options.check()
    assert said in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize(
    ("allowed", "address", "shown"),
    [
        (("archive.example",), "https://0.0.0.0:8443/", "https://archive.example:8443/"),
        (("2001:db8::1", "b.example"), "https://[::]:8443/", "https://[2001:db8::1]:8443/"),
        (("archive.example",), "https://192.0.2.7:8443/", "https://192.0.2.7:8443/"),
        (("archive.example",), "unix:/run/web", "unix:/run/web"),
        ((), "http://0.0.0.0:8000/", "http://0.0.0.0:8000/"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(
    allowed: tuple[str, ...], address: str, shown: str
) -> None:
    """Where it listens on all addresses, it names a host that requests may use."""
    assert ServeOptions(allow_hosts=allowed).name_address(address) == shown


@pytest.mark.parametrize(
    "options",
    [
        ServeOptions(),
        ServeOptions(host="localhost"),
        ServeOptions(host="::1"),
        ServeOptions(host="127.9.9.9", tls_cert=Path("c"), tls_key=Path("k")),
        ServeOptions(host="192.0.2.1", token_file=Path("t"), tls_cert=Path("c"), tls_key=Path("k")),
        ServeOptions(host="192.0.2.1", token_file=Path("t"), proxies=("192.0.2.2",)),
        ServeOptions(uds=Path("x"), token_file=Path("t"), allow_hosts=("archive.example",)),
    ],
)
def test_what_is_safe_is_allowed(options: ServeOptions) -> None:
    """Loopback as it is; elsewhere a login, and TLS here or at a proxy."""
    options.check()


def test_a_token_file_must_be_private_and_long(archive: ExportHarness, tmp_path: Path) -> None:
    """Others could put their own token there, or guess it."""
    short = write_token(tmp_path / "short", "0123456789")
    assert "could be guessed" in refusal(archive, "--token-file", str(short))
    shared = write_token(tmp_path / "shared", TOKEN)
    shared.chmod(0o666)
    assert "chmod 600" in refusal(archive, "--token-file", str(shared))
    assert "cannot be read" in refusal(archive, "--token-file", str(tmp_path / "none"))


def test_a_port_in_use_is_named(archive: ExportHarness, server: ServedArchive) -> None:
    """Code 2, and what to do."""
    errors = refusal(archive, "--port", str(server.place[1]))
    assert f"port {server.place[1]} cannot be used: Address already in use" in errors
    assert "--port" in errors


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (b"correct horse\nbattery staple", "nobody could enter"),
        (b"correct horse\0battery staple", "nobody could enter"),
        ("correct horse battery stäple".encode("latin-1"), "nobody could enter"),
        (b"x" * 2_000_000, "more than 1000 bytes"),
        ("\u5b66".encode() * 334, "more than 1000 bytes"),
        ("\u5b66".encode() * 5, "fewer than 16 bytes"),
    ],
)
def test_fault_k18_a_token_that_nobody_can_enter_is_refused(
    tmp_path: Path, token: bytes, problem: str
) -> None:
    """Two lines, control characters, other bytes than UTF-8, and what the login form does not take."""
    path = write_token(tmp_path / "token", "")
    path.write_bytes(token)
    with pytest.raises(ConfigError, match=problem):
        read_login_token(path)
    path.write_bytes("\ufeffécole – 学校 – correct horse\r\n".encode())
    digest, _ = read_login_token(path)
    assert digest == hashlib.sha256("école – 学校 – correct horse".encode()).digest()


def test_tls(archive: ExportHarness, token_file: Path, tmp_path: Path) -> None:
    """With a certificate of one's own; the cookie is for https alone, and http gets nothing."""
    authority = Authority(tmp_path, "a.fbcdn.net")
    files = ("--tls-cert", str(authority.certificate), "--tls-key", str(authority.key))
    client = ssl.create_default_context(cafile=str(authority.certificate))
    with served(archive.environ, "--token-file", str(token_file), *files) as running:
        assert running.address.startswith("https://127.0.0.1:")
        client.check_hostname = False
        origin = {"Origin": running.address.rstrip("/")}
        answer = running.ask("/login", "POST", FORM, tls=client, **origin)
        assert answer.status == 303
        assert answer.headers["set-cookie"].startswith("__Host-archiver=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert running.ask("/", tls=client, Cookie=cookie_of(answer)).status == 200
        assert b"HTTP/1.1" not in running.send_raw(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
    authority.key.chmod(0o644)
    message = refusal(archive, *files, "--allow-host", "a b")
    assert f"other users can read {authority.key} (--tls-key): run chmod 600 {authority.key}" in message
    message = refusal(archive, "--tls-cert", str(token_file), "--tls-key", str(authority.key))
    assert "cannot be used: they do not fit together" in message


def test_fault_v8_only_the_proxy_may_connect(archive: ExportHarness, token_file: Path) -> None:
    """Others are cut off before anything is read, whatever headers say. A proxy's are ignored, too."""
    words = ("--token-file", str(token_file), "--allow-host", "archive.example")
    with served(archive.environ, *words, "--behind-proxy", "127.0.0.2") as running:
        headers = b"X-Forwarded-For: 127.0.0.2\r\nForwarded: for=127.0.0.2\r\n"
        assert running.send_raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n") == b""
        with socket.create_connection(running.place, SECONDS, ("127.0.0.2", 0)) as proxy:
            proxy.sendall(b"GET /healthz HTTP/1.1\r\nHost: archive.example\r\nConnection: close\r\n\r\n")
            assert proxy.recv(4096).startswith(b"HTTP/1.1 200")
    with served(archive.environ, *words, "--behind-proxy", "127.0.0.1") as running:
        forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "X-Real-IP": "127.0.0.1"}
        answer = running.ask("/login", "POST", FORM, Origin="https://archive.example", Host="archive.example")
        assert answer.status == 303
        cookie = cookie_of(answer)
        assert "secure" in answer.headers["set-cookie"].lower()
        page = running.ask("/", Host="archive.example", Cookie=cookie, **forged)  # type: ignore[arg-type]
        assert page.status == 200
        assert "evil.example" not in page.text
        assert running.ask("/", Host="evil.example", X_Forwarded_Host="archive.example").status == 421
        assert running.ask("/", "POST", X_HTTP_Method_Override="GET").status == 405


def test_a_unix_socket(archive: ExportHarness, token_file: Path, tmp_path: Path) -> None:
    """For its user and group alone. It is removed at the end, and one that was left behind is replaced."""
    path = tmp_path / "web"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    words = ("--token-file", str(token_file), "--allow-host", "archive.example", "--uds", str(path))
    with served(archive.environ, *words) as running:
        assert running.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        connection = http.client.HTTPConnection("archive.example")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(str(path))
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        connection.close()
        assert "another process listens" in refusal(archive, *words)
    assert not path.exists()
    assert "not a socket" in refusal(archive, *words[:-1], str(token_file))
    assert token_file.read_text().strip() == TOKEN
