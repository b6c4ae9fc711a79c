"""YAML, JSON and TOML: what is written is read back, and what is hostile ends in one sentence, soon."""

from __future__ import annotations

import json
import os
import shlex
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import longtake
from longtake.core.config import apply_setting, load_config, merge, read_config_file
from longtake.core.documents import MOST_BYTES, on_one_line, read_json, read_toml, read_yaml, write_yaml
from longtake.core.errors import ConfigError
from longtake.core.files.sidecar import command

REGISTRY = longtake.load_plugins(third_party=False).registry
ODD = [
    "1e-05",
    "1e-3",
    ".5",
    "1_000",
    "010",
    "0o17",
    "0x1F",
    "1:30",
    "on",
    "off",
    "yes",
    "no",
    "y",
    "~",
    "null",
    "true",
]
ODD += [
    "",
    " ",
    "a: b",
    "- a",
    "#a",
    "'",
    '"',
    "=",
    "<<",
    "!!int 3",
    "&a",
    "*a",
    "2020-01-01",
    "\x7f",
    "\u2028",
    "😀",
    ".inf",
]
texts = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
data = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=6)


@given(data)
@example("\x85")
@example("a\u2028 b")
def test_what_is_written_is_read_back(value):
    assert read_yaml(write_yaml(value)) == value
    line = on_one_line(value)
    assert len(line.splitlines()) <= 1
    assert read_yaml(line) == value
    again = read_yaml(write_yaml({"value": value}))["value"]
    assert type(again) is type(value)


@given(data)
def test_readers_of_yaml_1_1_find_the_same(value):
    try:
        old = yaml.safe_load(write_yaml(value))
    except ValueError:  # 1.1 takes a time of day that is none
        return
    assert old == value


@given(st.floats(0, 1e18), st.floats(-1e18, 1e18))
def test_a_number_in_any_notation_survives_config_record_and_command(scale, low):
    asked = {"attention": {"name": "full", "key_scale": scale}, "guidance": {"name": "linear", "min": low}}
    config = load_config(asked | {"image": "a.png", "noise_aug": scale}, REGISTRY)
    assert load_config(read_yaml(write_yaml(config.dump())), REGISTRY) == config
    assert load_config(read_json(json.dumps(config.dump())), REGISTRY) == config
    words = shlex.split(str(command(config, Path("out.npy"), {})))
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    names = {word[2:]: words[place + 1] for place, word in enumerate(words) if word in ("--attention", "--guidance")}
    again = load_config(merge({}, names, settings), REGISTRY)
    assert (again.attention, again.guidance) == (config.attention, config.guidance)
    assert float(words[words.index("--noise-aug") + 1]) == scale


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-05", 1e-5),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1e3", 1000.0),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
    ]
    + [(text, text) for text in ("1_000", "1:30", "on", "off", "yes", "no", "2020-01-01")]
    + [("true", True), ("~", None), ("", None), ("-.inf", -float("inf"))],
)
def test_yaml_is_that_of_the_core_schema(text, value):
    read = read_yaml(text)
    assert (read, type(read)) == (value, type(value))


def test_a_setting_is_read_as_a_number():
    config = {"attention": "full"}
    apply_setting(config, "attention.key_scale=1e-3")
    assert config == {"attention": {"name": "full", "key_scale": 1e-3}}


def exploding(inner: str = "[{}]") -> str:
    """Return 9 levels of 9 aliases each, a billion values."""
    lines = ["a: &a " + inner.format(", ".join("x" * 9))]
    lines += [
        f"{name}: &{name} " + inner.format(", ".join([f"*{of}"] * 9))
        for of, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("ending", "text", "said"),
    [
        ("yaml", exploding(), "line 5 holds more than 50,000 values, counting each use of an alias"),
        ("yaml", exploding("{{<<: [{}]}}").replace("[x, x, x, x, x, x, x, x, x]", "{x: 1}"), "more than 50,000 values"),
        ("yaml", "[" * 100_000, "nested more than 40 levels deep"),
        ("yaml", "- " * 5_000, "nested more than 40 levels deep"),
        ("json", '{"a":' * 100_000, "nested more than 40 levels deep"),
        ("json", "[" * 41 + "]" * 41, "nested more than 40 levels deep"),
        ("toml", "a = " + "[" * 5_000, "nested more than 40 levels deep"),
        ("yaml", "a: &a [*a]", "a value contains itself"),
        ("yaml", "frames: 3\nfps: 2\nframes: 4", "key 'frames' is given twice"),
        ("yaml", "motion: {name: keyframes, bucket: {1: 3, 0x1: 4}}", "key '1' is given twice"),
        ("json", '{"motion": {"name": "x", "name": "y"}}', "key 'name' is given twice"),
        ("toml", "frames = 3\nframes = 4", "Cannot overwrite a value"),
        ("yaml", "fps: 2\nframes: " + "9" * 5_000, "line 2 holds a number of 5000 digits; the limit is 400"),
        ("json", '{"a": 2,\n"frames": ' + "9" * 5_000 + "}", "line 2 holds a number of 5000 digits; the limit is 400"),
        ("toml", 'fps = """\n"""\nframes = ' + "9" * 5_000, "line 3 holds a number of 5000 digits; the limit is 400"),
        ("toml", "frames = 0x" + "f" * 5_000, "line 1 holds a number of 5002 digits; the limit is 400"),
        ("toml", "a." * 100_000 + "b = 1", "nested more than 40 levels deep"),
        ("toml", "['a' . " + '"a"  .' * 100_000 + "b]", "nested more than 40 levels deep"),
        ("yaml", "frames: !!int three", "'three' is no int"),
        ("yaml", "frames: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("yaml", "image: \x01", "special characters are not allowed"),
        ("yaml", "#" * (MOST_BYTES + 1), f"it is larger than {MOST_BYTES} bytes"),
    ],
)  # fmt: skip
def test_a_hostile_document_is_refused_in_a_sentence(tmp_path, ending, text, said):
    path = tmp_path / f"config.{ending}"
    path.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=said) as caught:
            read_config_file(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"config file {path} is not valid {ending.upper()}: ")
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("frames: 3".encode("utf-16"), "it is text in UTF-16; save it as UTF-8"),
        (b"image: \xe9.png", "it is no text in UTF-8: byte 7 is 0xe9"),
    ],
)
def test_another_encoding_is_named(tmp_path, data, said):
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        read_config_file(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfframes: 3")  # a byte order mark, as Windows writes it
    assert read_config_file(tmp_path / "a.yaml") == {"frames": 3}


def test_what_is_no_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    for name, said in {
        "fifo": "It is no regular file",
        "device": "It is no regular file",
        "folder": "directory",
    }.items():
        with pytest.raises(ConfigError, match=f"cannot read config file .*{name}.yaml: .*{said}"):
            read_config_file(tmp_path / f"{name}.yaml")


def test_toml_and_json_are_read_as_before():
    assert read_toml("a = 1e-5\n[b]\nc = [1, 2]") == {"a": 1e-5, "b": {"c": [1, 2]}}
    assert read_json('{"a": 1e-5, "b": {"c": [1, 2]}}') == {"a": 1e-5, "b": {"c": [1, 2]}}
    long, dots = "9" * 5_000, "." * 100
    assert read_json(json.dumps({"a": long, "b": f'"{dots}'})) == {"a": long, "b": f'"{dots}'}
    assert read_toml(f'a = \'{long}\' # {long} {dots}\nb = """\n"{dots}\\""""') == {"a": long, "b": f'"{dots}"'}
    assert read_toml("a = [" + "1.5, " * 100 + "]") == {"a": [1.5] * 100}
