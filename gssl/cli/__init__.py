"""The `gssl` command line: what there is, what it takes, how it ends.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the job failed, 2 the user can mend it,
130 Ctrl-C, 75 terminated after saving. Nothing heavier than Typer is imported before a command needs it.
"""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import gssl
from gssl.cli import cache, convert, data, doctor, finished, following
from gssl.cli.options import (
    Cfg,
    CfgFlag,
    Check,
    ConfigDir,
    DryRun,
    Explain,
    Info,
    InfoFlag,
    Json,
    Minutes,
    Multirun,
    Overrides,
    Package,
    Plan,
    Progress,
    ProgressFlag,
    Resolve,
    guard,
)
from gssl.cli.output import emit, escape_streams, report, say, unforeseen
from gssl.engine import torchrun
from gssl.errors import UsageError

app = typer.Typer(
    name="gssl",
    help="Does GAN pretraining, self-supervision or a ready-made model pay, for my images and my few labels?",
    rich_markup_mode=None,  # Rich's help would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class HydraCommand(TyperCommand):
    """A command whose --info may stand alone, as Hydra's does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {i.value for i in Info}
        out = []
        for i, text in enumerate(args):
            alone = text == "--info" and (i + 1 == len(args) or args[i + 1] not in known)
            out.append("--info=all" if alone else text)
        return super().parse_args(ctx, out)


# ── the commands that Hydra configures ───────────────────────────────────────────────────────────


def _launch(
    command: str,
    overrides: list[str] | None,
    multirun: bool,
    progress: Progress | None,
    cfg: Cfg | None,
    resolve: bool,
    package: str | None,
    info: Info | None,
    config_dir: str | None,
    dry_run: bool,
    as_json: bool,
    plan: bool = False,
    preset: str = "folder",
) -> None:
    overrides = [*(overrides or []), *(progress.overrides if progress else [])]
    with guard():
        overrides = _with_folder(command, overrides, preset)
        _exclusive({"--plan": plan, "--cfg": cfg, "--info": info, "--dry-run": dry_run})
        _exclusive({"--plan": plan, "--cfg": cfg, "--info": info, "--multirun": multirun})
        if (resolve or package) and not cfg:
            raise UsageError("--resolve and --package go with --cfg")
        if as_json and (info or (cfg and cfg not in (Cfg.job, Cfg.schema))):
            raise UsageError("--json goes with a run, --plan, --dry-run or --cfg job")
        if cfg is Cfg.schema:
            from gssl.config import json_schema

            emit(json_schema.document(command))
            return
        from gssl.commands import COMMANDS
        from gssl.comparison import whole_runs
        from gssl.config import looking, running

        where = COMMANDS[command].where
        also = _check_claims if command == "compare" else None
        place = torchrun.check(command, multirun)
        if place and place.rank and (cfg or info or dry_run):  # rank 0 shows it
            return
        if cfg is Cfg.job and as_json:
            emit(looking.values(command, overrides, package, config_dir))
        elif cfg or info:
            kinds = cfg.value if cfg else None, info.value if info else None
            looking.show(command, overrides, *kinds, resolve, package, config_dir)
        elif plan:
            from gssl.cli import plan_table

            found = looking.plan(command, where, overrides, config_dir, also, quiet=as_json)
            emit(found) if as_json else plan_table.show(found)
        elif dry_run:
            text = looking.dry_run(command, where, overrides, multirun, config_dir, also, whole_runs)
            emit({"schema": "gssl.dry-run/1", "command": command, "message": text}) if as_json else print(text)
        elif place:
            from gssl.config import ranks

            ranks.need_directory(place, overrides)
            if place.rank:
                raise typer.Exit(ranks.follow(command, where, overrides, config_dir, also))
            records = running.run(command, where, overrides, False, config_dir, also)
            raise typer.Exit(ranks.ended(report(records, False, as_json)))
        else:
            records = running.run(command, where, overrides, multirun, config_dir, also, whole_runs)
            raise typer.Exit(report(records, multirun, as_json))


def _with_folder(command: str, overrides: list[str], preset: str) -> list[str]:
    """Overrides with what a folder among them stands for, which is said."""
    if all("=" in text or text.startswith("~") for text in overrides):
        return overrides
    from gssl.config import folder

    texts, found = folder.expanded(command, overrides, preset)
    for line in found:
        say(f"found: {line}")
    return texts


def _check_claims(cfg: Any) -> None:
    """A claim that cannot be read, or about what will not be measured, is a usage error now, not after an hour."""
    from gssl.comparison.claims_check import check

    check(cfg)


def _exclusive(flags: dict[str, Any]) -> None:
    given = [name for name, value in flags.items() if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other; leave one out")


def _experiment(name: str) -> Callable[[Callable[[], None]], None]:
    """Make a command out of a docstring: all that Hydra configures take the same flags."""

    def register(described: Callable[[], None]) -> None:
        def command(
            overrides: Overrides = None,
            multirun: Multirun = False,
            progress: ProgressFlag = None,
            cfg: CfgFlag = None,
            resolve: Resolve = False,
            package: Package = None,
            info: InfoFlag = None,
            config_dir: ConfigDir = None,
            dry_run: DryRun = False,
            as_json: Json = False,
        ) -> None:
            _launch(name, overrides, multirun, progress, cfg, resolve, package, info, config_dir, dry_run, as_json)

        app.command(name, cls=HydraCommand, help=described.__doc__)(command)

    return register


@_experiment("train-gan")
def train_gan() -> None:
    """Train a GAN; its discriminator's trunk is a backbone that `transfer` can evaluate.

    \b
    Examples:
      gssl train-gan                                   DCGAN on 5,000 digits
      gssl train-gan experiment=smoke                  everything once, in seconds
      gssl train-gan data=imagefolder data.root=photos budget.seconds=300
      gssl train-gan weights=runs/pretrain_ssl/RUN     start from an SSL backbone
      gssl train-gan -m gan.n_dis=1,2 seed=0,1         four runs
    """


@_experiment("pretrain-ssl")
def pretrain_ssl() -> None:
    """Pretrain a backbone without labels (with them: ssl=supervised, supcon).

    \b
    Examples:
      gssl pretrain-ssl                                SimCLR on 5,000 digits
      gssl pretrain-ssl experiment=smoke               everything once, in seconds
      gssl pretrain-ssl data=cifar10 backbone=resnet18 budget.epochs=200
      gssl pretrain-ssl resume=auto hydra.run.dir=runs/mine      go on where it stopped
      gssl pretrain-ssl -m ssl.temperature=0.2,0.5 seed=0,1      four runs
      gssl pretrain-ssl --cfg job                      what would run
    """


@_experiment("transfer")
def transfer() -> None:
    """Evaluate a backbone by few labels: kNN, linear probes, few-shot, clusters, fine-tuning, FixMatch.

    \b
    Examples:
      gssl transfer weights=runs/pretrain_ssl/RUN      the labels it was asked for, the test set once
      gssl transfer weights=random experiment=smoke    everything once, in seconds
      gssl transfer weights=kmeans                     k-means on patches, no network (also pca, pixels)
      gssl transfer weights=torchvision backbone=resnet18 data=imagefolder data.root=photos
      gssl transfer weights=model.safetensors labels_per_class=[1,5,10] probe.use=[linear]
      gssl transfer weights=runs/pretrain_ssl/RUN to=[svhn,photos/]    on other data sets, beside scratch
      gssl transfer weights=random generated.run=runs/train_gan/RUN    with images of a class-conditional GAN as well
    """


@_experiment("curve")
def curve() -> None:
    """Label-efficiency curve: several backbones on the same draws of labels; one picture, one table.

    \b
    Examples:
      gssl curve sources=[runs/pretrain_ssl/A,runs/train_gan/B,scratch,random,pixels]
      gssl curve sources=[simclr@runs/pretrain_ssl/A,scratch] fractions=[0.01,0.1,1.0] labels_per_class=[]
      gssl curve sources=[runs/pretrain_ssl/A,scratch] to=[photos/,street/]    source × target, classes and masks
    """


@app.command("compare", cls=HydraCommand)
def compare(
    overrides: Overrides = None,
    minutes: Minutes = None,
    claims: Check = None,
    multirun: Multirun = False,
    progress: ProgressFlag = None,
    cfg: CfgFlag = None,
    resolve: Resolve = False,
    package: Package = None,
    info: InfoFlag = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    plan: Plan = False,
    explain: Explain = None,
    as_json: Json = False,
) -> None:
    """Compare GAN, SSL, ready-made networks and controls over seeds and on one budget; write a report and a model.

    \b
    Examples:
      gssl compare photos/                             your images: a folder per class, or labels.csv (path,label)
      gssl compare photos/ --minutes 60                with more time; gssl try photos/ is a first look
      gssl compare                                     the whole comparison on 5,000 digits
      gssl compare --plan                              what would run, its FLOPs and minutes, measured
      gssl compare experiment=smoke                    everything once, in seconds
      gssl compare arms=[simclr,scratch,random] seeds=6 data=imagefolder data.root=photos
      gssl compare runs='runs/parts/*'                 only read what is finished
      gssl compare --check 'simclr.linear@10 > random.linear@10 + 5' --check 'dcgan.kid < 0.05'
      gssl compare --explain simclr.linear@10          how the newest report came to a number, from which files
    """
    texts = [*(overrides or []), *([f"minutes={minutes:g}"] if minutes else [])]
    if explain is not None:
        with guard():
            flags = {"--plan": plan, "--multirun": multirun, "--cfg": cfg, "--info": info, "--dry-run": dry_run}
            _exclusive({"--explain": True, **flags, "--check": claims})
            _explain(explain, texts, as_json)
        return
    if claims:
        if any(text.lstrip("+").startswith("check=") for text in texts):
            with guard():
                raise UsageError("--check and check= exclude each other; write all claims one way")
        texts.append("check=[" + ",".join("'" + c.replace("'", "\\'") + "'" for c in claims) + "]")
    _launch("compare", texts, multirun, progress, cfg, resolve, package, info, config_dir, dry_run, as_json, plan)


@app.command("try", cls=HydraCommand)
def try_(
    overrides: Overrides = None,
    minutes: Minutes = None,
    progress: ProgressFlag = None,
    cfg: CfgFlag = None,
    dry_run: DryRun = False,
    plan: Plan = False,
    as_json: Json = False,
) -> None:
    """A first look at a folder of images within minutes: `compare` with few seeds, which carry no verdict.

    \b
    Examples:
      gssl try photos/                                 a folder per class, or labels.csv (path,label)
      gssl try photos/ --minutes 2
      gssl try photos/ --plan                          what would run, and for how long
    """
    texts = [*(overrides or []), *([f"minutes={minutes:g}"] if minutes else [])]
    with guard():
        if all("=" in text for text in texts):
            raise UsageError("try: needs a folder of images, such as gssl try photos/")
    try:
        _launch("compare", texts, False, progress, cfg, False, None, None, None, dry_run, as_json, plan, "try")
    except typer.Exit as end:
        if end.exit_code == 0:
            say(f"a first look: so few seeds carry no verdict; for one: gssl compare {texts[0]}")
        raise


def _explain(key: str, overrides: list[str], as_json: bool) -> None:
    """How a number of a finished report was computed. Reads files only: no Hydra, no torch."""
    from gssl.report import explain

    folder = None
    for text in overrides:
        name, _, value = text.partition("=")
        if name.lstrip("+") != "hydra.run.dir" or not value:
            raise UsageError(f"{text}: --explain reads a finished report; only hydra.run.dir=DIR goes with it")
        folder = value.strip("'\"")
    found = explain.explain(key, explain.find(folder))
    emit(found) if as_json else print(explain.text(found))


app.add_typer(data.app)
app.add_typer(convert.app)
app.add_typer(doctor.app)
app.add_typer(finished.app)
app.add_typer(following.app)
app.add_typer(following.runs_app, name="runs")
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gssl {gssl.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
    elif os.environ.get("WORLD_SIZE", "1") != "1" and not {"--help", "-h"} & set(sys.argv):
        from gssl.config import ranks

        with guard():
            ranks.begin(ctx.invoked_subcommand)


def _renamed(error: Any) -> str | None:
    """The line for a flag that had another name in earlier versions."""
    from gssl.config.keys import renamed_flag

    flag = getattr(error, "option_name", None)
    if flag is None or error.ctx is None:
        return None
    new = renamed_flag(flag, [name for parameter in error.ctx.command.params for name in parameter.opts])
    return new and f"no such option {flag}; it is now {new}"


def run() -> None:
    """The entry point of the `gssl` script: Typer's own complaints on one line too, and what nobody foresaw."""
    escape_streams()
    try:
        code = app(prog_name="gssl", standalone_mode=False)
    except typer.Abort:
        say("interrupted")
        code = 130
    except Exception as e:
        if hasattr(e, "format_message"):  # Typer's usage errors have it; which class they are is private
            say(f"error: {_renamed(e) or ' '.join(e.format_message().split())} (gssl --help)")
            code = getattr(e, "exit_code", 2)
        else:
            say(f"error: {unforeseen(e)}")
            code = 1
    sys.exit(code if isinstance(code, int) else 0)
