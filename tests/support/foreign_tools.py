"""Other tools that save highlights: the real ones, in environments of their own, against a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import platformdirs

from archiver.sandbox.standin import StandIn

INSTA_DL = ("instagram-dl==0.1.8", "hikerapi==1.8.2")
GALLERY_DL = ("gallery-dl==1.32.18",)
INSTALOADER = ("instaloader==4.16",)

# insta-dl allows https:// and Instagram's hosts only. This widens both to the loopback API and CDN.
_INSTA_DL = """
import sys
from hikerapi import base
from insta_dl import cdn
from insta_dl.cli import main

url = sys.argv.pop(1)
begin = base.BaseClient.__init__

def begin_at_url(self, *arguments, **options):
    begin(self, *arguments, **options)
    self._url = url

base.BaseClient.__init__ = begin_at_url
cdn._ALLOWED_SCHEMES, cdn._ALLOWED_HOST_SUFFIXES = {"http"}, ("127.0.0.1",)
sys.exit(main())
"""
# The other two ask Instagram itself: here for what the stand-in shows. Names and metadata are their own.
_GALLERY_DL = """
import json, sys
from gallery_dl import config, job
from gallery_dl.extractor import instagram

shown, dest = json.load(open(sys.argv[1])), sys.argv[2]

class Api:
    def __init__(self, extractor):
        pass

    def highlights_tray(self, handle):
        return [{"id": reel["id"]} for reel in shown["reels"]]

    def reels_media(self, reel_ids):
        return [reel for reel in shown["reels"] if reel["id"] in reel_ids]

instagram.InstagramAPI = Api
instagram.InstagramExtractor.login = lambda self: None
config.set(("extractor",), "base-directory", dest)
config.set(("extractor", "instagram"), "previews", True)
config.set(("extractor",), "postprocessors", [{"name": "metadata"}])
sys.exit(job.DownloadJob("https://www.instagram.com/natgeo/highlights").run())
"""
_INSTALOADER = """
import json, os, sys
from instaloader import Highlight, Instaloader, Profile

shown = json.load(open(sys.argv[1]))
os.chdir(sys.argv[2])
loader = Instaloader(quiet=True, iphone_support=False)
loader.context.username = "somebody"
profile = Profile(loader.context, {"id": shown["user"]["pk"], "username": shown["user"]["username"]})

def node(item):
    videos = item.get("video_versions", [])
    return {
        "id": item["pk"],
        "__typename": "GraphStoryVideo" if videos else "GraphStoryImage",
        "is_video": bool(videos),
        "taken_at_timestamp": item["taken_at"],
        "display_resources": [{"src": item["image_versions2"]["candidates"][0]["url"]}],
        "video_resources": [{"src": video["url"]} for video in videos],
        "owner": {"id": shown["user"]["pk"]},
    }

def highlights(user):
    for reel in shown["reels"]:
        facts = {"id": reel["id"].split(":")[1], "title": reel["title"]}
        highlight = Highlight(loader.context, facts, profile)
        highlight._items = [node(item) for item in reel["items"]]
        yield highlight

loader.get_highlights = highlights
loader.download_highlight_cover = lambda highlight, target: None
loader.download_highlights(profile)
"""


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment with these packages.

    It is made once, and stays in the user's cache.
    """
    version = "{}.{}".format(*sys.version_info[:2])
    place = platformdirs.user_cache_path("archiver-tests") / f"{name}-{version}"
    python = Path("bin", "python")
    if not (place / python).exists():
        draft = place.with_name(f"{place.name}-{os.getpid()}")
        venv.create(draft, clear=True, with_pip=False)
        _run(sys.executable, "-m", "pip", "--python", draft / python, "install", "-q", *packages)
        draft.rename(place)
    return place / python


def run_insta_dl(upstream: StandIn, dest: Path, *names: str) -> None:
    """Save the highlights of these accounts with insta-dl 0.1.8."""
    python = environment("insta-dl-0.1.8", INSTA_DL)
    options = ("--highlights", "--no-progress", "--dest", dest)
    _run(python, "-c", _INSTA_DL, upstream.base_url, *options, *names, HIKERAPI_TOKEN=upstream.key)


def run_gallery_dl(upstream: StandIn, dest: Path, name: str) -> None:
    """Save the highlights of an account with gallery-dl 1.32, with previews and metadata."""
    python = environment("gallery-dl-1.32.18", GALLERY_DL)
    _run(python, "-c", _GALLERY_DL, _write_shown(upstream, dest, name), dest)


def run_instaloader(upstream: StandIn, dest: Path, name: str) -> None:
    """Save the highlights of an account with instaloader 4.16, with metadata and without covers."""
    python = environment("instaloader-4.16", INSTALOADER)
    _run(python, "-c", _INSTALOADER, _write_shown(upstream, dest, name), dest)


TOOLS: dict[str, Callable[[StandIn, Path, str], None]] = {
    "insta-dl": run_insta_dl,
    "gallery-dl": run_gallery_dl,
    "instaloader": run_instaloader,
}


def _run(*command: object, **variables: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _write_shown(upstream: StandIn, dest: Path, name: str) -> Path:
    """Write what the stand-in shows of an account, in the form of Instagram's own API; return the file."""
    with httpx.Client(
        base_url=upstream.base_url, headers={"x-access-key": upstream.key}, trust_env=False
    ) as client:
        user = client.get("/v1/user/by/username", params={"username": name}).json()
        tray = client.get("/v1/user/highlights", params={"user_id": user["pk"]}).json()
        pages = [
            client.get("/v1/highlight/by/url", params={"url": _PAGE.format(entry["pk"])}).json()
            for entry in tray
        ]
    owner = {"pk": str(user["pk"]), "username": user["username"], "full_name": user["full_name"]}
    reels = [
        {
            "id": f"highlight:{page['pk']}",
            "title": page["title"],
            "user": owner,
            "latest_reel_media": 1,
            "items": [_item(item) for item in page["items"]],
        }
        for page in pages
    ]
    dest.mkdir(parents=True, exist_ok=True)
    path = dest.with_suffix(".shown.json")
    path.write_text(json.dumps({"user": owner, "reels": reels}))
    return path


_PAGE = "https://www.instagram.com/stories/highlights/{}/"


def _item(item: dict[str, Any]) -> dict[str, Any]:
    taken_at = datetime.fromisoformat(item["taken_at"].replace("Z", "+00:00"))
    picture = {"url": item["thumbnail_url"], "width": 1, "height": 1}
    videos = {"video_versions": [{"url": item["video_url"], "width": 1, "height": 1}]}
    return {
        "pk": str(item["pk"]),
        "code": item["code"],
        "taken_at": int(taken_at.timestamp()),
        "image_versions2": {"candidates": [picture]},
        **(videos if item["video_url"] else {}),
    }
