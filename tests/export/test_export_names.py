"""Names and paths that come of hostile texts: every system can have them, and none leads out of the
export.
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.errors import UsageError
from archiver.export import file_names
from archiver.export.export_paths import (
    DEFAULT_TEMPLATE,
    FIELDS,
    FREE_TEXT_FIELDS,
    PathFiller,
    parse_template,
)
from archiver.media.formats import extension_for

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_NASTY = st.text(
    st.one_of(
        st.sampled_from(
            './\\:*?"<>| ~-\0\t\n\u202e\u2066\u200d\u200b\ufeff\ud800e\u0301ßİ🦋👩\U0001f3fd🇩🇪\uffff'
        ),
        st.characters(),
    ),
    max_size=400,
)


def _assert_fits_everywhere(name: str) -> None:
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert not set(name) & set('<>:"/\\|?*')
    assert not [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [
        c
        for c in name
        if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
    ]
    assert name.split(".")[0].rstrip(" ").lower() not in _DEVICES
    assert unicodedata.is_normalized("NFC", name)
    assert len(name.encode()) <= 255
    assert len(unicodedata.normalize("NFD", name).encode("utf-16-le")) // 2 <= 255


@given(st.fixed_dictionaries(dict.fromkeys(sorted(FIELDS - {"ext"}), _NASTY)))
@example(dict.fromkeys(FIELDS, ".."))
@example(dict.fromkeys(FIELDS, "CON"))
@example(dict.fromkeys(FIELDS, "👩‍👩‍👧‍👦" * 60))
@example(dict.fromkeys(FIELDS, ""))
def test_fault_x1_no_text_leads_out_of_the_export(values: dict[str, str]) -> None:
    """Whatever the fields say, each name fits every system, the path is relative and as deep as its template,
    and the extension stays.
    """
    told = values | {"ext": "jpg", "highlight_pk": "17983616051768088", "code": values["code"][:40]}
    path = PathFiller(
        parse_template("{username}/{title}/{title} ({highlight_pk})/{code}{full_name}.{ext}")
    ).fill(told)
    assert len(path) == 4
    for name in path:
        _assert_fits_everywhere(name)
    assert path[2].endswith("(17983616051768088)")
    assert path[3].endswith(".jpg")
    joined = "/".join(path)
    assert file_names.utf16_units(joined) <= file_names.MAX_PATH_LENGTH
    assert not PurePosixPath(joined).is_absolute()
    assert not PureWindowsPath(joined).is_absolute()
    assert ".." not in PurePosixPath(joined).parts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("Archive.json", "Archive_.json"),
        ("COM¹", "COM¹_"),
        ("aux .x", "aux_.x"),
        ("a:stream", "a_stream"),
        ("ends. . ", "ends"),
        (".hidden", "_hidden"),
        ("..", "_"),
        ("a\\b/c", "a_b_c"),
        ("so\n  many\tblanks", "so many blanks"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("e\u0301", "é"),
        ("👩\u200d🚀 🏳️‍🌈", "👩\u200d🚀 🏳️‍🌈"),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        ),
    ],
)
def test_fault_x6_a_name_that_some_system_cannot_have_is_changed(text: str, name: str) -> None:
    """Devices, streams, what Windows drops at the end, what turns a line around; emoji and scripts stay."""
    assert file_names.safe_name(file_names.clean(text)) == name


@pytest.mark.parametrize("text", ["archive", "Archive", "archive "])
def test_an_extension_makes_no_name_an_archive_s_marker(text: str) -> None:
    """Of a sidecar; a picture may be called so."""
    values = dict.fromkeys(FIELDS, text) | {"ext": "json"}
    assert PathFiller(parse_template("{title}.{ext}")).fill(values) == (f"{text.strip()}_.json",)
    assert PathFiller(parse_template("{title}.{ext}")).fill(values | {"ext": "jpg"}) == (
        f"{text.strip()}.jpg",
    )


@pytest.mark.parametrize(
    ("one", "other"), [("Best", "BEST"), ("Cafe\u0301", "Café"), ("straße", "STRASSE"), ("ΣΑΣ", "σας")]
)
def test_fault_x6_twins_on_another_system_are_known(one: str, other: str) -> None:
    """Names that differ in case or composition only."""
    assert file_names.collision_key(one) == file_names.collision_key(other)


@given(
    st.lists(st.sampled_from(["👨‍👩‍👧", "🇩🇪", "e\u0323\u0301", "👍🏽", "❤️", "x"]), max_size=60),
    st.integers(1, 120),
)
def test_fault_x5_a_name_is_cut_between_two_characters_of_a_reader(letters: list[str], longest: int) -> None:
    """No half family, flag, accent or skin."""
    kept = file_names.truncate("".join(letters), longest)
    assert file_names.length(kept) <= longest
    whole = ["".join(letters[:n]) for n in range(len(letters) + 1)]
    assert kept in whole


@pytest.mark.parametrize("text", ["{code.__class__}", "{title!r}", "{0}", "{}", "{title:>9}", "{password}"])
def test_fault_x15_a_template_knows_fields_by_name_only(text: str) -> None:
    """No attributes, no indexes, no formats, and that is said: an unknown field is a usage error that names
    the known ones.
    """
    with pytest.raises(UsageError) as caught:
        parse_template(f"{text}/{{code}}.{{ext}}")
    assert "highlight_pk" in caught.value.hint
    assert ("format" in str(caught.value)) == (text not in ("{0}", "{}", "{password}"))


def test_fault_x15_a_value_is_never_a_template() -> None:
    """A title with braces stands as it is; doubled braces in the template stand for themselves."""
    values = dict.fromkeys(FIELDS, "x") | {"title": "{item_pk} %s $(id)", "item_pk": "7"}
    assert PathFiller(parse_template("{{{title}}}/{item_pk}.{ext}")).fill(values) == (
        "{{item_pk} %s $(id)}",
        "7.x",
    )


@pytest.mark.parametrize(
    "text",
    [
        "/abs/{code}.{ext}",
        "../{code}.{ext}",
        "a//{code}.{ext}",
        "{code}",
        "{title}/",
        ".{ext}",
        "{code}{ext}",
        "a { b.{ext}",
        "./{code}.{ext}",
        "x/" * 17 + "{code}.{ext}",
        "y" * 201 + "{code}.{ext}",
        "{user_pk}{highlight_pk}{item_pk}" * 2 + ".{ext}",
    ],
)
def test_a_template_that_makes_no_path_is_refused(text: str) -> None:
    """Absolute, leading up, without a name or without its extension, too deep or too long."""
    with pytest.raises(UsageError):
        parse_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{title} {taken_at} {code} {item_pk}.{ext}",
        "{username} {title} {full_name} {code}.{ext}",
        "{username}/{position} {type} {role} {full_name}.{ext}",
        (
            "{username} {user_pk} {full_name} {title} {highlight_pk} {taken_at} {position} "
            "{code} {item_pk} {type} {role}.{ext}"
        ),
    ],
)
@pytest.mark.parametrize("text_of_others", ["x" * 400, "🦋" * 400, "e\u0301" * 400, "..", ""])
def test_fields_that_give_way_take_no_room_from_the_others(text: str, text_of_others: str) -> None:
    """However long what others wrote is, the name is short enough, and ids, dates and words of ours stand in
    it whole.
    """
    ours = {
        **{field: str(n) * 40 for n, field in enumerate(("user_pk", "highlight_pk", "item_pk"), start=1)},
        "taken_at": "2026-11-01 10-11-12",
        "position": "012",
        "type": "photo",
        "role": "thumbnail",
        "ext": "webp",
    }
    values = dict.fromkeys(FREE_TEXT_FIELDS, text_of_others) | ours
    template = parse_template(text)
    path = PathFiller(template).fill(values)
    _assert_fits_everywhere(path[-1])
    assert file_names.length(path[-1]) <= file_names.MAX_LENGTH
    assert [field for field in template.fields & set(ours) if ours[field] not in path[-1]] == []


def test_a_template_that_is_too_long_is_told_by_how_much() -> None:
    """What its fixed parts may come to, and what a name may have."""
    with pytest.raises(UsageError, match="may have 245 characters, the limit is 200"):
        parse_template("{user_pk}{highlight_pk}{item_pk}" * 2 + ".{ext}")


def test_the_extension_is_that_of_the_bytes() -> None:
    """Known types have theirs, anything else ``bin``; both of a video's files differ by it."""
    assert {extension_for(mime) for mime in ("image/jpeg", "video/mp4", "text/html")} == {
        "jpg",
        "mp4",
        "bin",
    }
    parse_template(DEFAULT_TEMPLATE)
