"""SEAM 2, the free CDN: streams a Link's bytes into a Sink, and lets through only what is whole and what was asked for."""

from __future__ import annotations

from archiver.media.download import Downloader
from archiver.media.egress import DownloadRules
from archiver.media.intake import Received, Sink
from archiver.media.sniff import Kind, MediaType, sniff

__all__ = ["DownloadRules", "Downloader", "Kind", "MediaType", "Received", "Sink", "sniff"]
