"""Download files with httpx and upload them with obstore: the script that most people would write.

    python benchmarks/plain_upload.py URLS BUCKET

Sixteen files at a time. Endpoint and keys come from the variables of AWS.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from obstore import put
from obstore.store import S3Store

THREADS = 16


def main(urls: Path, bucket: str) -> None:
    """Upload all files of a list, each under its path."""
    store = S3Store(bucket, client_options={"allow_http": True})
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(THREADS) as pool:

        def move(url: str) -> None:
            answer = client.get(url).raise_for_status()
            put(store, f"files{urlsplit(url).path}", answer.content)

        list(pool.map(move, urls.read_text().splitlines()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
