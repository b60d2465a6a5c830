"""Serve files with Debian's nginx on a loopback address, plain or over TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """
{user}
worker_processes 2;
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    default_type application/octet-stream;
    client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home};
    uwsgi_temp_path {home}; scgi_temp_path {home};
    server {{
        listen 127.0.0.1:{port}{tls};
        root {root};
    }}
}}
"""
_TLS = " ssl;\n        ssl_certificate {home}/cert.pem;\n        ssl_certificate_key {home}/key.pem"


@contextmanager
def nginx(root: Path, home: Path, *, tls: bool) -> Iterator[str]:
    """Serve ``root`` during the block, and yield the origin. ``home``: a folder for nginx's own files.

    With ``tls`` the certificate is ``home / "cert.pem"``. Ends the program if nginx or openssl is missing.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or (tls and shutil.which("openssl") is None):
        raise SystemExit("nginx and openssl are needed (Debian: apt-get install nginx-light openssl)")
    if tls:
        _make_certificate(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = home / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # nginx would become one who cannot read the files
    how = _TLS.format(home=home) if tls else ""
    config.write_text(_CONFIG.format(user=user, home=home, port=port, root=root, tls=how))
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, home)
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            server.terminate()


def _make_certificate(home: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)


def _wait_for(port: int, home: Path) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nginx does not answer: {(home / 'error.log').read_text()[-500:]}")
