"""The command line: ``longtake generate`` and the commands that show what it would do."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click
from click.exceptions import Exit

from ..audit import problems
from ..blame import blaming
from ..budget.decoding import fit_decoding
from ..budget.devices import is_out_of_memory
from ..config import STRATEGY_KINDS, Config
from ..contracts import Span
from ..defaults import resolve
from ..documents import write_yaml
from ..errors import ConfigError, LongtakeError, PluginError, headline
from ..facts import read_facts
from ..files.picture import check_picture
from ..files.reserved import written_by
from ..files.sources import Named, check_apart, sources_of
from ..files.video import sidecar_path
from ..generate import generate as generate_video
from ..image import read_image
from ..manager import Plugins, load_plugins, offer_commands
from ..material import read_material
from ..plan import make_plan
from ..rings import warn_if_open
from .decode import decode
from .listing import plugin_rows, print_plugins, print_strategies, strategy_rows
from .options import asked_config, config_file_of, config_options, json_option, no_plugins_option
from .plan_tables import print_tables
from .plan_view import Needs, as_data
from .progress import ProgressDisplay, show_notes, silence_libraries, silence_models
from .redirect import stdout_to_stderr
from .schema import config_schema
from .screen import Screen, show, written
from .threads import threads_option

PROBLEM = 2
logger = logging.getLogger("longtake")
screen = Screen(stderr=True, highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="longtake")
@no_plugins_option
def cli(**_: bool) -> None:
    """Long videos from Stable Video Diffusion, without training."""


cli.add_command(decode)


@cli.command("generate")
@click.argument("image", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File (.mp4 .webm .gif .webp .npy) or folder.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress; print only where the output lies.")
@threads_option
@config_options
@click.pass_obj
def generate_command(
    plugins: Plugins, /, image: str | None, output: Path | None, overwrite: bool, quiet: bool, **options: Any
) -> None:
    """Make a long video from IMAGE: a file, or 'example' for the picture that ships with longtake.

    What is not said is chosen from the model and from the length asked for; see 'longtake config'.
    """
    read = config_file_of(options)
    config = asked_config(plugins.registry, image, options)
    if output is None:
        raise click.UsageError("say where the video goes, such as: -o out.mp4")
    generate_and_report(plugins, config, output, read, overwrite=overwrite, quiet=quiet)


def generate_and_report(
    plugins: Plugins, config: Config, output: Path, read: list[Named], *, overwrite: bool, quiet: bool
) -> None:
    """Make a video, showing how far it is, and say where it lies; ``read`` is what the config was read from."""
    check_apart(written_by(output, config.preview), read)
    silence_models()
    for name, reason in plugins.registry.broken.items():
        logger.warning("plugin %r did not load: %s", name, reason)
    with ProgressDisplay(screen, visible=not quiet) as display:
        plugins.manager.register(display, "progress")
        with stdout_to_stderr():
            result = generate_video(config, output=output, overwrite=overwrite, plugins=plugins, keep_frames=False)
    show(output)
    if not quiet:
        display.report(result, sidecar_path(output))


@cli.command("config")
@click.argument("image", required=False)
@json_option("Print JSON instead of YAML.")
@config_options
@click.pass_obj
def config_command(plugins: Plugins, /, image: str | None, as_json: bool, **options: Any) -> None:
    """Print the whole config of a generation, nothing left to choose; it is a valid config file."""
    with stdout_to_stderr():
        config, facts = _resolved(plugins, image, options)
    with suppress(ConfigError):  # what cannot be decoded is said by whoever decodes, or plans to
        config = config.model_copy(update={"decode_chunk": fit_decoding(config, facts).chunk})
    data = config.dump()
    click.echo(json.dumps(data, indent=2) if as_json else write_yaml(data).rstrip())


@cli.command("plan")
@click.argument("image", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the plan as a picture, such as plan.png.")
@click.option("--step", type=click.IntRange(min=1), default=1, show_default=True, help="The denoising step to show.")
@json_option("Print JSON instead of tables.")
@config_options
@click.pass_obj
def plan_command(
    plugins: Plugins, /, image: str | None, output: Path | None, step: int, as_json: bool, **options: Any
) -> None:
    """Show what a generation would do, without loading a model: positions, windows, noise, guidance, sigmas, memory."""
    with stdout_to_stderr():
        read = config_file_of(options)
        config, facts = _resolved(plugins, image, options)
        if output:
            check_picture(output, [*read, *sources_of(config, plugins)])
        if config.steps is not None and step > config.steps:
            raise LongtakeError(f"--step {step} is beyond the last of {config.steps} steps")
        assert config.sampling and config.frames
        # What is denoised by itself is planned by itself.
        together = config.sampling.seen(Span(frames=config.frames, trained=facts.trained))
        plan = make_plan(config, facts, shown_step=step - 1, places=range(together))
        warn_if_open(config, plan)
        needs = Needs.of(plan, config, facts)
    if not isinstance(needs.decoding, ConfigError):
        config = config.model_copy(update={"decode_chunk": needs.decoding.chunk})
    if output:
        from .plan_picture import draw

        draw(plan, config, output)
    if as_json:
        click.echo(json.dumps(as_data(plan, config, needs)))
    elif output:
        show(output)
    else:
        print_tables(plan, config, needs, Screen(highlight=False))


@cli.command("strategies")
@click.option("--kind", type=click.Choice(STRATEGY_KINDS), help="Only this kind.")
@json_option("Print a list of objects with kind, name, plugin and options.")
@no_plugins_option
@click.pass_obj
def strategies_command(plugins: Plugins, /, kind: str | None, as_json: bool, **_: bool) -> None:
    """List the strategies that exist, from whom, with their options and defaults."""
    rows = [row for row in strategy_rows(plugins.registry) if kind in (None, row["kind"])]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_strategies(rows, Screen(highlight=False))


@cli.command("plugins")
@click.option("--check", is_flag=True, help="Check them against this longtake, and leave with 2 if anything is wrong.")
@json_option("Print a list of objects.")
@no_plugins_option
@click.pass_obj
def plugins_command(plugins: Plugins, /, check: bool, as_json: bool, **_: bool) -> None:
    """List the plugins: version, hooks, strategies, and those that did not load, with the reason."""
    if check:
        with stdout_to_stderr():
            found = problems(plugins)
        if as_json:
            click.echo(json.dumps([{"plugin": name, "problem": problem} for name, problem in found], indent=2))
        elif not found:
            click.echo(f"nothing is wrong with {', '.join(plugins.registry.packages) or 'the built-in plugins'}")
        if found:
            raise PluginError("\n".join(f"plugin {name!r}: {problem}" for name, problem in found))
        return
    rows = plugin_rows(plugins)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_plugins(rows, Screen(highlight=False))


@cli.command("schema")
@json_option("Changes nothing: a schema is always JSON.")
@no_plugins_option
@click.pass_obj
def schema_command(plugins: Plugins, /, as_json: bool, **_: bool) -> None:
    """Print the JSON schema of config files, with all registered strategies, for editors."""
    click.echo(json.dumps(config_schema(plugins.registry), indent=2))


def _resolved(plugins: Plugins, image: str | None, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the config with nothing left to choose, its device that of any machine, and the facts of its model."""
    config = asked_config(plugins.registry, image, options)
    facts = read_facts(config.model, config.trained, config.variant)
    portrait = False
    if config.image or config.continues:
        portrait = read_material(config.image, config).portrait
    elif config.end_image:
        read_image(config.end_image)
    return resolve(config, facts, plugins.registry, portrait=portrait, elsewhere=True), facts


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with 0, or with 2 for what the user can mend."""
    arguments = sys.argv[1:] if arguments is None else arguments
    silence_libraries()
    show_notes()
    try:
        with written():
            with stdout_to_stderr():
                plugins = load_plugins(third_party="--no-plugins" not in arguments)
                offer_commands(plugins, cli)
            with blaming(plugins, but=(click.ClickException, Exit)):
                _run(arguments, plugins)
    except LongtakeError as error:
        _fail(str(error))
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f"\nsee: {where.command_path} --help" if where else ""
        _fail(error.format_message() + hint)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(
            f"the device is out of memory ({headline(error)}); try fewer frames, a smaller size, "
            f"a smaller --decode-chunk, or --dtype float16"
        )
    sys.exit(0)


def _run(arguments: list[str], plugins: Plugins) -> None:
    """Let click call the command; a KeyboardInterrupt, which click turns into Abort, comes out as it was."""
    try:
        cli.main(arguments, prog_name="longtake", standalone_mode=False, obj=plugins)
    except click.Abort as abort:
        raised = abort.__context__
        raise (raised if isinstance(raised, KeyboardInterrupt) else KeyboardInterrupt()) from None


def _fail(message: str) -> NoReturn:
    with suppress(OSError):  # standard error cannot be written either; the exit code says so
        screen.print("[bold red]error:[/] ", end="")
        screen.print(message, markup=False, soft_wrap=True)
    sys.exit(PROBLEM)
