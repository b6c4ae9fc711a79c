"""Configs: from objects, names, mappings and files; back again; and what is said of those that do not fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import longtake
from longtake import Config, load_config, read_config_file, resolve
from longtake.core.cli.schema import config_schema
from longtake.core.config import apply_setting, merge
from longtake.core.errors import ConfigError
from longtake.core.facts import read_facts
from longtake.core.testing import example_options
from longtake.positional.dynamic import Dynamic
from longtake.positional.ntk import Ntk

REGISTRY = longtake.load_plugins(third_party=False).registry
XT = read_facts("stabilityai/stable-video-diffusion-img2vid-xt")


def named(kind: str) -> st.SearchStrategy[dict[str, object]]:
    classes = sorted(REGISTRY.classes[kind].items())
    return st.sampled_from([{"name": name} | example_options(cls) for name, cls in classes])


configs = st.fixed_dictionaries(
    {kind: named(kind) for kind in REGISTRY.classes},
    optional={
        "frames": st.integers(2, 2000),
        "fps": st.floats(1, 120),
        "seed": st.integers(0, 2**63 - 1),
        "steps": st.integers(1, 100),
        "image": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        "fit": st.sampled_from(["crop", "pad"]),
    },
)


@given(data=configs)
def test_a_config_survives_being_written_and_read(data):
    config = load_config(data, REGISTRY)
    assert load_config(json.loads(json.dumps(config.dump())), REGISTRY) == config
    assert load_config(yaml.safe_load(yaml.safe_dump(config.dump())), REGISTRY) == config


@given(data=configs)
def test_a_resolved_config_has_nothing_left_to_choose_and_stays_as_it_is(data):
    config = resolve(load_config(data, REGISTRY), XT, REGISTRY)
    of_a_file = {"image", "preview", "end_image", "end_frames", "continues"}
    of_memory = {"memory", "decode_chunk", "decode_overlap"}  # who decodes chooses, by what is free and is needed
    assert {name for name, value in config if value is None} <= {
        "variant",
        "trained",
        "weights",
        *of_memory,
        *of_a_file,
    }
    assert resolve(config, XT, REGISTRY) == config


def test_name_mapping_and_object_mean_the_same():
    by_name = load_config({"positional": "ntk"}, REGISTRY)
    assert by_name == load_config({"positional": {"name": "ntk"}}, REGISTRY)
    assert by_name == Config(positional=Ntk())
    assert load_config({"positional": {"name": "ntk", "strength": 0.5}}, REGISTRY).positional == Ntk(strength=0.5)


def test_a_strategy_inside_a_strategy_is_found_by_name():
    config = load_config({"positional": {"name": "dynamic", "of": {"name": "ntk", "strength": 0.5}}}, REGISTRY)
    assert config.positional == Dynamic(of=Ntk(strength=0.5))


def test_names_need_a_registry():
    with pytest.raises(ValueError, match="'ntk' names a strategy; load it with load_config"):
        Config(positional="ntk")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"positional": "liner"},
            "unknown positional strategy 'liner'; known: circular, clamp, .*\ndid you mean 'linear'",
        ),
        ({"noise": "frenoise"}, "unknown noise schedule 'frenoise'; .*\ndid you mean 'freenoise'"),
        ({"positional": {"strength": 1}}, "positional needs a name; known: circular"),
        (
            {"positional": {"name": "ntk", "strenght": 1}},
            "unknown option of positional strategy 'ntk': 'positional.strenght'; known: .*\ndid you mean 'strength'",
        ),
        (
            {"positional": {"name": "ntk", "strength": 2}},
            "positional.strength should be less than or equal to 1, got 2",
        ),
        ({"attention": {"name": "freenoise", "window": 4, "stride": 5}}, "stride=5 with window=4"),
        ({"positional": {"name": "dynamic", "of": "liner"}}, "unknown positional strategy 'liner'"),
        ({"positional": 3}, "positional: should be a name, or a mapping with a name and options, got 3"),
        ({"positional": Config()}, "positional: should be a name, or a mapping"),
        ({"positional": {"name": ["linear"]}}, r"positional needs a name, got \['linear'\]; known: circular"),
        ({"framez": 3}, "unknown config key 'framez'; .*\ndid you mean 'frames'"),
        ({"frames": 0}, "frames should be greater than or equal to 1, got 0"),
        ({"frames": -3}, "frames should be greater than or equal to 1, got -3"),
        ({"frames": "many"}, "frames should be a valid integer.* got 'many'"),
        ({"fps": float("nan")}, "fps should be"),
        ({"fit": "stretch"}, "fit should be 'crop' or 'pad', got 'stretch'"),
        ({"frames": 0, "steps": 0}, "frames should be .*\nsteps should be"),
    ],
)
def test_what_does_not_fit_is_said_with_what_was_asked_and_what_exists(data, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load_config(data, REGISTRY)


FILES = {
    "config.yaml": "frames: 56\npositional: {name: ntk, strength: 0.5}\n",
    "config.yml": "frames: 56\npositional:\n  name: ntk\n  strength: 0.5\n",
    "config.toml": 'frames = 56\npositional = { name = "ntk", strength = 0.5 }\n',
    "config.json": '{"frames": 56, "positional": {"name": "ntk", "strength": 0.5}}',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_format_mean_the_same(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    config = load_config(read_config_file(tmp_path / name), REGISTRY)
    assert config == Config(frames=56, positional=Ntk(strength=0.5))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "frames: [", "is not valid YAML"),
        ("a.json", "{", "is not valid JSON"),
        ("a.toml", "frames 3", "is not valid TOML"),
        ("a.yaml", "- 3", "must hold keys and values, got list"),
        ("a.json", '{"longtake_version": 3}', "is no record of a run: it holds no config"),
        ("a.json", '{"longtake_version": 3, "config": 3}', "is no record of a run: it holds no config"),
        ("a.ini", "", "must end in one of .yaml, .yml, .json, .toml"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config_file(tmp_path / name)


def test_a_missing_file_is_named_and_an_empty_one_asks_for_nothing(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config file .*a.yaml: No such file"):
        read_config_file(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_config_file(tmp_path / "a.yaml") == {}


def test_settings_reach_options_at_any_depth_and_leave_their_source_alone():
    data = {"positional": {"name": "dynamic", "of": "ntk"}, "attention": "freenoise"}
    copy = json.loads(json.dumps(data))
    for setting in ("positional.of.strength=0.5", "positional.first=0.25", "attention.positions=local"):
        apply_setting(copy, setting)
    config = load_config(copy, REGISTRY)
    assert config.positional == Dynamic(of=Ntk(strength=0.5), first=0.25)
    assert config.attention.positions == "local"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("positional.factor", "--set takes KIND.OPTION=VALUE"),
        ("frames=3", "--set takes KIND.OPTION=VALUE"),
        ("positional=3", "--set takes KIND.OPTION=VALUE"),
        ("positional..x=3", "--set takes KIND.OPTION=VALUE"),
        ("positional.factor=2", "name the strategy first, such as --positional NAME"),
        ("noise.window=[", "cannot read the value '\\['"),
        ("motion.strength=1", "motion is 3, which has no options"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        apply_setting({"noise": "freenoise", "motion": 3}, setting)


def test_the_command_line_wins_and_keeps_the_options_of_the_same_strategy_only():
    file = {"frames": 20, "steps": 9, "positional": {"name": "ntk", "strength": 0.5}}
    assert merge(file, {"frames": 30}, []) == file | {"frames": 30}
    assert merge(file, {"positional": "ntk"}, [])["positional"] == {"name": "ntk", "strength": 0.5}
    assert merge(file, {"positional": "yarn"}, [])["positional"] == "yarn"
    assert merge(file, {}, ["positional.strength=0.1"])["positional"]["strength"] == 0.1
    assert file["positional"] == {"name": "ntk", "strength": 0.5}


@pytest.mark.parametrize(
    ("positional", "motion", "factor"),
    [
        (None, "compensated", None),
        ("none", "constant", None),
        ("yarn", "compensated", None),
        ({"name": "linear", "factor": 2}, "compensated", 2),
    ],
)
def test_the_default_motion_makes_up_for_what_is_stretched_and_no_more(positional, motion, factor):
    config = resolve(load_config({"frames": 100, "positional": positional}, REGISTRY), XT, REGISTRY)
    assert config.motion.name == motion
    assert getattr(config.motion, "factor", None) == factor


@pytest.mark.parametrize(
    ("asked", "sigmas", "guided_until", "reuse", "steps"),
    [
        ({}, "karras", 1.0, 1, 25),
        ({"speed": "exact"}, "karras", 1.0, 1, 25),
        ({"speed": "fast"}, "ays", 0.5, 1, 10),
        ({"speed": "draft"}, "ays", 0.5, 3, 10),
        ({"speed": "draft", "reuse": 1, "steps": 4}, "ays", 0.5, 1, 4),
        ({"speed": "fast", "sigmas": "karras"}, "karras", 0.5, 1, 25),
        ({"speed": "fast", "guidance": "linear"}, "ays", 1.0, 1, 10),
        ({"reuse": 2}, "karras", 1.0, 2, 25),
    ],
)
def test_a_speed_chooses_what_is_not_given(asked, sigmas, guided_until, reuse, steps, caplog):
    config = resolve(load_config({"frames": 100, "motion_bucket": 50} | asked, REGISTRY), XT, REGISTRY)
    chosen = (config.sigmas.name, config.guidance.stop, config.reuse, config.steps)
    assert chosen == (sigmas, guided_until, reuse, steps)
    assert (config.positional.name, config.motion.name) == ("linear", "compensated")
    assert resolve(config, XT, REGISTRY) == config
    assert not caplog.records


def test_a_speed_that_has_nothing_left_to_choose_is_told(caplog):
    exact = resolve(load_config({"frames": 100, "motion_bucket": 50}, REGISTRY), XT, REGISTRY)
    faster = exact.model_copy(update={"speed": "draft"})
    assert resolve(faster, XT, REGISTRY) == faster
    assert [record.message for record in caplog.records] == [
        "speed draft changes nothing here: sigmas, guidance, reuse are given"
    ]


@pytest.mark.parametrize(
    ("asked", "facts", "bucket", "said"),
    [
        ({"frames": 25}, XT, 127, None),
        ({"frames": 100}, XT, 63, None),
        ({"frames": 100, "motion_bucket": 60}, XT, 60, None),
        ({"frames": 100, "motion_bucket": 127}, XT, 127, "127 is too high for 100 frames: .* up to 63.75 keep"),
        ({"frames": 100, "motion": {"name": "compensated", "limit": 200}}, XT, 50, None),
        ({"frames": 100, "motion": {"name": "compensated", "by": "fps"}}, XT, 127, None),
        (
            {"frames": 1000, "motion_bucket": 51, "motion": {"name": "compensated", "limit": 200}},
            XT,
            51,
            "up to 5 keep",
        ),
        ({"frames": 100, "sampling": "chain", "motion": "compensated"}, XT, 127, None),
        ({"frames": 100, "motion": "constant"}, XT, 127, None),
        ({"frames": 100, "positional": "none"}, XT, 127, None),
        ({"frames": 25, "motion_bucket": 300}, XT, 300, "bucket 300 is beyond 255"),
        ({"frames": 100, "motion_bucket": 1000, "motion": "constant"}, XT, 1000, "bucket 1000 is beyond 255"),
        ({"frames": 100, "motion": {"name": "keyframes", "bucket": {0: 10, -1: 400}}}, XT, 127, "bucket 400 is beyond"),
        ({"frames": 100, "motion": {"name": "linear", "last_bucket": 256}}, XT, 127, "bucket 256 is beyond 255"),
        (
            {"frames": 100, "motion_bucket": 300, "motion": {"name": "compensated", "strength": 0}},
            XT,
            300,
            "beyond 255",
        ),
        ({"frames": 28, "motion_bucket": 24}, replace(XT, trained=14, top_bucket=48), 24, None),
        ({"frames": 56}, replace(XT, trained=14, top_bucket=48), 12, None),
        ({"frames": 56}, replace(XT, trained=14, top_bucket=2), 0.5, None),
    ],
)
def test_the_motion_bucket_is_one_that_keeps_its_speed_or_a_warning_is_given(asked, facts, bucket, said, caplog):
    assert resolve(load_config(asked, REGISTRY), facts, REGISTRY).motion_bucket == bucket
    messages = [record.message for record in caplog.records]
    assert len(messages) == (said is not None)
    assert said is None or re.search(said, messages[0])


def test_sizes_are_chosen_and_rounded_for_the_model(caplog):
    def size(**asked):
        config = resolve(load_config(asked, REGISTRY), XT, REGISTRY, portrait=asked.pop("portrait", False))
        return config.width, config.height

    assert size() == (1024, 576)
    assert resolve(Config(), XT, REGISTRY, portrait=True).height == 1024
    assert size(width=512) == (512, 288)
    assert size(height=288) == (512, 288)
    assert not caplog.records
    assert size(width=500, height=300) == (496, 304)
    assert "size 500x300 rounded to 496x304: the model needs multiples of 8" in caplog.text


@pytest.mark.parametrize("kind", list(REGISTRY.classes))
def test_the_schema_knows_every_strategy_and_option(kind):
    schema = config_schema(REGISTRY)
    choices = schema["properties"][kind]["anyOf"]
    assert choices[0] == {"enum": sorted(REGISTRY.classes[kind])}
    for name, cls in REGISTRY.classes[kind].items():
        assert {"$ref": f"#/$defs/{kind}.{name}"} in choices
        definition = schema["$defs"][f"{kind}.{name}"]
        assert set(definition["properties"]) == {"name", *cls.model_fields}
        assert all("description" in definition["properties"][option] or option == "of" for option in cls.model_fields)
    assert set(schema["properties"]) == set(Config.model_fields)


def test_every_option_has_a_description():
    for classes in REGISTRY.classes.values():
        for cls in classes.values():
            assert all(field.description for field in cls.model_fields.values()), cls
    assert all(field.description for field in Config.model_fields.values())
