"""The objects of a world in the API's JSON, with the same fields and nulls as the vendor's examples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from archiver.sandbox import item_factory
from archiver.sandbox.world_objects import (
    Json,
    Role,
    SandboxAccount,
    SandboxFile,
    SandboxHighlight,
    SandboxItem,
)

Object = dict[str, Json]


class Urls(Protocol):
    """Signs the URLs of one answer, and remembers whose file is at each path."""

    def __call__(
        self, media: SandboxFile | None, role: Role, *, user: str, highlight: str = "", item: str = ""
    ) -> str | None: ...


def _time(seconds: int, zone: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone


def owner(account: SandboxAccount, urls: Urls) -> Object:
    """Return a User as a tray and the page of a highlight show it."""
    return {
        "pk": account.pk,
        "id": account.pk,
        "username": account.username,
        "full_name": account.full_name,
        "profile_pic_url": urls(account.avatar, "avatar", user=account.pk),
        "profile_pic_url_hd": None,
        "is_private": account.is_private,
        "is_verified": account.is_verified,
    }


def profile(account: SandboxAccount, urls: Urls) -> Object:
    """Return a User as ``/v1/user/by/*`` shows it, with its ``pk`` as a number (vendor's example)."""
    return {
        "pk": int(account.pk),
        "username": account.username,
        "full_name": account.full_name,
        "is_private": account.is_private,
        "profile_pic_url": urls(account.avatar, "avatar", user=account.pk),
        "profile_pic_url_hd": None,
        "is_verified": account.is_verified,
        "media_count": 0,
        "follower_count": 0,
        "following_count": 0,
        "biography": account.biography,
        "external_url": None,
        "account_type": 2,
        "is_business": False,
        "public_email": "",
        "contact_phone_number": "",
        "public_phone_country_code": "",
        "public_phone_number": "",
        "business_contact_method": "UNKNOWN",
        "business_category_name": None,
        "category_name": None,
        "category": "",
        "address_street": "",
        "city_id": "0",
        "city_name": "",
        "latitude": None,
        "longitude": None,
        "zip": "",
        "instagram_location_id": "",
        "interop_messaging_user_fbid": None,
    }


def raw_profile(account: SandboxAccount, urls: Urls) -> Object:
    """Return a User as ``/v2/user/by/*`` shows it: in an envelope, its pk also as text (vendor's example)."""
    ids: Object = {"strong_id__": account.pk, "id": account.pk, "pk_id": account.pk}
    return {"user": {**profile(account, urls), **ids}, "status": "ok"}


def _poor_owner(pk: str) -> Object:
    """Return the owner as items show it, with fewer values than in the tray."""
    return {
        "pk": pk,
        "id": pk,
        "username": None,
        "full_name": "",
        "profile_pic_url": None,
        "profile_pic_url_hd": None,
        "is_private": False,
        "is_verified": None,
    }


def _cover_image(highlight: SandboxHighlight, urls: Urls) -> Object | None:
    url = urls(highlight.cover, "cover", user=highlight.user_pk, highlight=highlight.pk)
    return None if url is None else {"height": 150, "scans_profile": "", "url": url, "width": 150}


def _tray_cover(highlight: SandboxHighlight, urls: Urls) -> Object:
    return {
        "crop_rect": None,
        "media_id": None,
        "upload_id": None,
        "cropped_image_version": _cover_image(highlight, urls),
        "full_image_version": None,
    }


def tray_entry(account: SandboxAccount, highlight: SandboxHighlight, urls: Urls) -> Object:
    """Return a Highlight as the v1 tray shows it, without items and media ids."""
    return {
        "pk": highlight.pk,
        "id": f"highlight:{highlight.pk}",
        "latest_reel_media": highlight.latest_reel_media,
        "cover_media": _tray_cover(highlight, urls),
        "user": owner(account, urls),
        "title": highlight.title,
        "created_at": _time(highlight.created_at, "Z"),
        "is_pinned_highlight": highlight.is_pinned,
        "media_count": highlight.media_count,
        "media_ids": [],
        "items": [],
    }


def page(account: SandboxAccount, highlight: SandboxHighlight, urls: Urls) -> Object:
    """Return a Highlight as ``/v1/highlight/by/url`` shows it, with all its items."""
    return {
        "pk": highlight.pk,
        "id": f"highlight:{highlight.pk}",
        "latest_reel_media": highlight.latest_reel_media,
        "cover_media": _page_cover(highlight, urls),
        "user": owner(account, urls),
        "title": highlight.title,
        "created_at": _time(highlight.created_at, "+00:00"),
        "is_pinned_highlight": highlight.is_pinned,
        "media_count": highlight.media_count,
        "media_ids": [int(item.pk) for item in highlight.items],
        "items": [_item(item, highlight.pk, urls, "+00:00") for item in highlight.items],
    }


def _page_cover(highlight: SandboxHighlight, urls: Urls) -> Object:
    cover = highlight.cover_media_pk
    return {
        "cropped_image_version": _cover_image(highlight, urls),
        "crop_rect": list(highlight.crop_rect) if highlight.crop_rect else None,
        "media_id": f"{cover}_{highlight.user_pk}" if cover else None,
        "full_image_version": None,
        "upload_id": None,
    }


def _item(item: SandboxItem, highlight_pk: str, urls: Urls, zone: str) -> Object:
    shown: Object = {
        "pk": item.pk,
        "id": f"{item.pk}_{item.user_pk}",
        "code": item_factory.code(item.pk),
        "taken_at": _time(item.taken_at, zone),
        "media_type": item.media_type,
        "product_type": "story",
        "thumbnail_url": urls(
            item.thumbnail, "thumbnail", user=item.user_pk, highlight=highlight_pk, item=item.pk
        ),
        "user": _poor_owner(item.user_pk),
        "video_url": urls(item.video, "video", user=item.user_pk, highlight=highlight_pk, item=item.pk),
        "video_duration": item.duration,
        "sponsor_tags": item.sponsor_tags,
        "mentions": item.mentions,
        "links": item.links,
        "hashtags": item.hashtags,
        "locations": item.locations,
        "stickers": item.stickers,
        "medias": item.medias,
    }
    if item.polls is not None:
        shown["polls"] = item.polls
    return shown


def raw_tray_entry(
    account: SandboxAccount, highlight: SandboxHighlight, urls: Urls, *, prefixed: bool
) -> Object:
    """Return a highlight as the v2 tray shows it: as Instagram does, times as numbers (vendor's example)."""
    return {
        **_raw(account, highlight, urls),
        "cover_media": _tray_cover(highlight, urls),
        "ranked_position": -(highlight.latest_reel_media or 0),
        "seen_ranked_position": -(highlight.latest_reel_media or 0),
        "updated_timestamp": highlight.latest_reel_media,
        "pk": f"highlight:{highlight.pk}" if prefixed else highlight.pk,
        "items": [],
    }


def raw_page(account: SandboxAccount, highlight: SandboxHighlight, urls: Urls) -> Object:
    """Return a Highlight as ``/v2/highlight/by/id`` shows it, with the items of v1 (vendor's example)."""
    reel: Object = {
        **_raw(account, highlight, urls),
        "cover_media": _page_cover(highlight, urls),
        "media_ids": [int(item.pk) for item in highlight.items],
        "items": [_item(item, highlight.pk, urls, "Z") for item in highlight.items],
        "ad_expiry_timestamp_in_millis": None,
        "is_cta_sticker_available": None,
        "should_treat_link_sticker_as_cta": None,
        "pool_refresh_ttl_in_sec": None,
        "is_cacheable": True,
        "disabled_reply_types": ["story_remix_reply", "story_selfie_reply", "story_voice_reply"],
        "is_added_to_main_grid": False,
        "show_expiration_tray_signal": False,
        "pk": highlight.pk,
    }
    return {"response": {"reels": {f"highlight:{highlight.pk}": reel}, "status": "ok"}}


def _raw(account: SandboxAccount, highlight: SandboxHighlight, urls: Urls) -> Object:
    """Return what the v2 tray and the v2 page both show of a highlight."""
    named = f"highlight:{highlight.pk}"
    return {
        "strong_id__": named,
        "id": named,
        "reel_type": "highlight_reel",
        "title": highlight.title,
        "created_at": highlight.created_at,
        "is_pinned_highlight": highlight.is_pinned,
        "prefetch_count": 0,
        "highlight_reel_type": "DEFAULT",
        "is_converted_to_clips": False,
        "is_nux": False,
        "can_gif_quick_reply": True,
        "can_reshare": True,
        "is_archived": False,
        "media_count": highlight.media_count,
        "latest_reel_media": highlight.latest_reel_media,
        "seen": None,
        "can_reply": False,
        "can_react_with_avatar": False,
        "user": _raw_owner(account, urls),
    }


def _raw_owner(account: SandboxAccount, urls: Urls) -> Object:
    return {
        "strong_id__": account.pk,
        "pk": account.pk,
        "pk_id": account.pk,
        "id": account.pk,
        "username": account.username,
        "full_name": account.full_name,
        "is_private": account.is_private,
        "is_verified": account.is_verified,
        "profile_pic_url": urls(account.avatar, "avatar", user=account.pk),
        "account_badges": [],
        "is_creator_agent_enabled": False,
    }
