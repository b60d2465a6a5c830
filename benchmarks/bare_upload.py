"""Download files and upload them with obstore, and nothing else: no hash, no file, no row, no check.

    python benchmarks/bare_upload.py URLS BUCKET

Sixteen threads, each with one connection, as in ``bare_download.py``, and one client of obstore. Endpoint and
keys come from the variables of AWS.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bare_download import Body, download_all
from obstore import put
from obstore.store import S3Store


def main(urls: Path, bucket: str) -> None:
    """Upload all files of a list."""
    store = S3Store(bucket, client_options={"allow_http": True})
    download_all(urls.read_text().splitlines(), partial(upload, store))


def upload(store: S3Store, body: Body) -> None:
    """Put a file into the bucket under its path."""
    content = bytearray()
    for piece in body.read():
        content += piece
    put(store, f"files{urlsplit(body.url).path}", content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
