"""The pages in the eyes of the Nu Html Checker, which validator.w3.org runs; only with ``--whole``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site.test_site_browser import LINKS, TITLES, exported, hostile
from tests.support.site_samples import highlight_saying, write_site
from tests.support.standin.world_edits import EditableWorld

VERSION = "26.9.27"
_TEXTS = (
    *TITLES,
    "a\x00b\x0bc\x7f",
    "\ufffe\U0010ffff\ue000",
    "\u0301e\u0301",
    "]]>--><!--",
    "&amp;&notanentity;&#0;",
)
_URLS = (
    *LINKS,
    *(
        f"https://example.com/{odd}?{odd}#{odd}#"
        for odd in ("\\", "|`^{}[]<>\"'", "%zz%", "\u00fc\U0001f98b", "\ufffe")
    ),
    "https://xn--bcher-kva.example/",
    "https://b\u00fccher.example/",
    "HTTPS://EXAMPLE.COM:443/a b",
)
# Warnings about what somebody wrote, which stays as it was written; and one of files from the disk, which
# browsers take for 'self' of the policy.
_LEFT = re.compile(
    "(?:Document uses the Unicode Private Use Area|Text run starts with a composing character|"
    "The value of attribute .data-name. on element .li. .* starts with a composing character|"
    "This document appears to be written in |.* is not in Unicode Normalization Form C|"
    r"Resource violates Content Security Policy \(meta tag\): )"
)


@pytest.fixture(scope="session")
def checker(shared_tmp: Path) -> list[str]:
    """The command that checks files: Debian's Java, and the jar from npm, kept for the next time."""
    java, npm = shutil.which("java"), shutil.which("npm")
    base = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archiver-tests" / f"vnu-{VERSION}"
    )
    jar = base / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
    if java is None or (npm is None and not jar.exists()):
        told = "the Nu checker needs Java, and npm to fetch it: install default-jre-headless and npm"
        if sys.platform != "linux":
            pytest.skip(told)
        pytest.fail(told)
    if not jar.exists():
        assert npm is not None
        new = shared_tmp / "vnu"
        install = [npm, "install", "--silent", "--no-audit", "--prefix", str(new), f"vnu-jar@{VERSION}"]
        new.mkdir()
        subprocess.run(install, check=True, timeout=300)
        base.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(base, ignore_errors=True)
        shutil.move(new, base)
    return [java, "-jar", str(jar), "--format", "json", "--stdout", "--exit-zero-always"]


@pytest.mark.whole
def test_the_nu_checker_finds_nothing_on_any_page(checker: list[str], tmp_path: Path) -> None:
    """No error, and no warning that is ours to heed: of the demo, of an account whose owner would like to
    harm, of texts and links of all kinds."""
    for name in ("demo", "hostile"):
        (tmp_path / name).mkdir()
    exported(tmp_path / "demo", EditableWorld.seed(), "natgeo", "salwaaa_ki")
    hostile(tmp_path / "hostile")
    for n, text in enumerate(_TEXTS):
        for m, url in enumerate(_URLS):
            for path, page in write_site(*highlight_saying(text, url)).pages.items():
                there = tmp_path / f"made-{n}-{m}" / path
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_text(page, encoding="utf-8")
    pages = [str(path) for path in tmp_path.rglob("*.html")]
    assert len(pages) > 4 * len(_TEXTS) * len(_URLS)
    done = subprocess.run([*checker, *pages], capture_output=True, text=True, check=True, timeout=600)
    messages = json.loads(done.stdout)["messages"]
    odd = [one for one in messages if one["type"] == "error" or not _LEFT.match(one["message"])]
    assert not odd, f"{len(odd)}, of them " + json.dumps(odd[:5], indent=1)
