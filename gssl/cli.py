"""The `gssl` command line: what there is, what it takes, how it ends.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 the job failed, 2 the user can mend it,
130 Ctrl-C, 75 terminated after saving. Nothing heavier than Typer is imported before a command needs it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import gssl
from gssl.commands.output import emit, report, say
from gssl.errors import Interrupted, JobError, UsageError

app = typer.Typer(
    name="gssl",
    help="Does GAN pretraining, self-supervision or a ready-made model pay, for my images and my few labels?",
    rich_markup_mode=None,  # Rich's help would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(
    help="What the run directories say: list them, show one.", rich_markup_mode=None, no_args_is_help=True
)
app.add_typer(runs_app, name="runs")


class Cfg(StrEnum):
    """What --cfg prints."""

    job = "job"
    hydra = "hydra"
    all = "all"


class Info(StrEnum):
    """What --info prints."""

    all = "all"
    config = "config"
    defaults = "defaults"
    tree = "defaults-tree"
    plugins = "plugins"
    searchpath = "searchpath"


class HydraCommand(TyperCommand):
    """A command whose --info may stand alone, as Hydra's does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {i.value for i in Info}
        out = []
        for i, text in enumerate(args):
            alone = text == "--info" and (i + 1 == len(args) or args[i + 1] not in known)
            out.append("--info=all" if alone else text)
        return super().parse_args(ctx, out)


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    from gssl.config.complete import complete

    return complete(str(ctx.info_name), incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Overrides of the configuration, e.g. seed=1 data=cifar10 backbone.width=64.",
        autocompletion=_complete,
        show_default=False,
    ),
]
Multirun = Annotated[
    bool,
    typer.Option("--multirun", "-m", help="Run each combination of values such as a,b or range(0,3)."),
]
CfgFlag = Annotated[Cfg | None, typer.Option("--cfg", "-c", help="Print the checked configuration and stop.")]
Resolve = Annotated[bool, typer.Option("--resolve", help="With --cfg: fill in interpolations.")]
Package = Annotated[str | None, typer.Option("--package", "-p", help="With --cfg: only this part.")]
InfoFlag = Annotated[Info | None, typer.Option("--info", help="Print how the configuration comes about.")]
ConfigDir = Annotated[
    str | None,
    typer.Option("--config-dir", "-cd", metavar="DIR", help="Directory of your own YAML files."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Compose, build, one batch, stop.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Check = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CLAIM",
        help="Exit 1 unless the claim holds, e.g. 'simclr.linear@10 > random.linear@10 + 5'.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="A folder of images, searched recursively.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Errors that are foreseen: one line on stderr and their exit code."""
    try:
        yield
    except (UsageError, JobError) as e:
        say(f"error: {e}")
        raise typer.Exit(2 if isinstance(e, UsageError) else 1) from e
    except (Interrupted, KeyboardInterrupt) as e:
        say("interrupted")
        raise typer.Exit(e.code if isinstance(e, Interrupted) else 130) from e


# ── the commands that Hydra configures ───────────────────────────────────────────────────────────


def _launch(
    command: str,
    overrides: list[str] | None,
    multirun: bool,
    cfg: Cfg | None,
    resolve: bool,
    package: str | None,
    info: Info | None,
    config_dir: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    overrides = overrides or []
    with guard():
        _exclusive({"--multirun": multirun, "--cfg": cfg, "--info": info, "--dry-run": dry_run})
        if (resolve or package) and not cfg:
            raise UsageError("--resolve and --package go with --cfg")
        if as_json and (info or (cfg and cfg is not Cfg.job)):
            raise UsageError("--json goes with a run, --dry-run or --cfg job")
        from gssl.config import bridge

        also = _readable_claims if command == "compare" else None
        if cfg is Cfg.job and as_json:
            emit(bridge.plain_config(command, overrides, package, config_dir))
        elif cfg or info:
            kinds = cfg.value if cfg else None, info.value if info else None
            bridge.show(command, overrides, *kinds, resolve, package, config_dir)
        elif dry_run:
            text = bridge.dry_run(command, overrides, config_dir, also)
            emit({"schema": "gssl.dry-run/1", "command": command, "message": text}) if as_json else print(text)
        else:
            records = bridge.run(command, overrides, multirun, config_dir, also)
            raise typer.Exit(report(records, multirun, as_json))


def _readable_claims(cfg: Any) -> None:
    """A claim that cannot be read, or about what will not be judged, is a usage error now, not after an hour."""
    from gssl.report.checks import parse
    from gssl.report.judging import amount_keys, probes_of

    judged = {arm: probes_of(arm, cfg.probe.use) for arm in cfg.arms}
    for claim in cfg.check:
        if cfg.runs:  # what these hold is known when they are read
            parse(claim)
        else:
            parse(claim, judged, amount_keys(cfg.labels_per_class, cfg.fractions))


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
            cfg: CfgFlag = None,
            resolve: Resolve = False,
            package: Package = None,
            info: InfoFlag = None,
            config_dir: ConfigDir = None,
            dry_run: DryRun = False,
            as_json: Json = False,
        ) -> None:
            _launch(name, overrides, multirun, cfg, resolve, package, info, config_dir, dry_run, as_json)

        app.command(name, cls=HydraCommand, help=described.__doc__)(command)

    return register


@_experiment("train-gan")
def train_gan() -> None:
    """Train a GAN; its discriminator's trunk is a backbone that `transfer` can judge.

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
    """Pretrain a backbone without labels.

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
    """Judge a backbone by few labels: kNN, linear probe, fine-tuning.

    \b
    Examples:
      gssl transfer weights=runs/pretrain_ssl/RUN      the labels it was asked for, the test set once
      gssl transfer weights=random experiment=smoke    everything once, in seconds
      gssl transfer weights=torchvision backbone=resnet18 data=imagefolder data.root=photos
      gssl transfer weights=model.safetensors labels_per_class=[1,5,10] probe.use=[linear]
    """


@app.command("compare", cls=HydraCommand)
def compare(
    overrides: Overrides = None,
    claims: Check = None,
    multirun: Multirun = False,
    cfg: CfgFlag = None,
    resolve: Resolve = False,
    package: Package = None,
    info: InfoFlag = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare GAN, SSL and controls over seeds on one backbone and budget; write a report.

    \b
    Examples:
      gssl compare                                     the whole comparison on 5,000 digits
      gssl compare experiment=smoke                    everything once, in seconds
      gssl compare arms=[simclr,scratch,random] seeds=6 data=imagefolder data.root=photos
      gssl compare runs='runs/parts/*'                 only read what is finished
      gssl compare --check 'simclr.linear@10 > random.linear@10 + 5'
    """
    texts = list(overrides or [])
    if claims:
        texts.append("check=[" + ",".join("'" + c.replace("'", "\\'") + "'" for c in claims) + "]")
    _launch("compare", texts, multirun, cfg, resolve, package, info, config_dir, dry_run, as_json)


# ── the commands that use a finished run ─────────────────────────────────────────────────────────


def _use(command: str, as_json: bool, run: Path, out: Path, **arguments: Any) -> None:
    """Run a function of `gssl.commands.use`; what it prints goes to stderr, the file it wrote to stdout."""
    with guard():
        from gssl.config import registry

        with contextlib.redirect_stdout(sys.stderr):
            found = registry.load(f"gssl.commands.use:{command}")(run=run, out=out, **arguments)
        emit({"schema": f"gssl.{command}/1", "run": str(run), **found}) if as_json else print(out)


@app.command("sample")
def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images.")] = 64,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")] = Path("grid.png"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other seeds, other images.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw images from a trained GAN's averaged generator into one PNG.

    \b
    Example:
      gssl sample runs/train_gan/RUN -n 64 -o grid.png
    """
    _use("sample", as_json, run, out, n=n, seed=seed, device=device)


@app.command("embed")
def embed(
    run: RunArgument,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz to write.")] = Path("features.npz"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the backbone's features of every image in a folder.

    \b
    Example:
      gssl embed runs/pretrain_ssl/RUN photos -o features.npz
    """
    _use("embed", as_json, run, out, folder=folder, device=device)


@app.command("predict")
def predict(
    run: RunArgument,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The CSV to write.")] = Path("labels.csv"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Label every image in a folder with a fine-tuned model.

    \b
    Example:
      gssl predict runs/transfer/RUN photos -o labels.csv
    """
    _use("predict", as_json, run, out, folder=folder, device=device)


@runs_app.command("list")
def runs_list(
    root: Annotated[Path, typer.Option("--root", help="Where the run directories are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs: command, method, state, objective."""
    from gssl.commands import runs

    with guard():
        found = runs.list_runs(root)
        if as_json:
            emit({"schema": "gssl.runs/1", "root": str(root), "runs": found})
        else:
            runs.print_list(found)


@runs_app.command("show")
def runs_show(run: RunArgument, as_json: Json = False) -> None:
    """Show one run: its state and what it ended with."""
    from gssl.commands import runs

    with guard():
        if as_json:
            emit(runs.show_run(run))
        else:
            runs.print_run(run)


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


def run() -> None:
    """The entry point of the `gssl` script: Typer's own complaints on one line too."""
    try:
        code = app(prog_name="gssl", standalone_mode=False)
    except typer.Abort:
        say("interrupted")
        code = 130
    except Exception as e:
        if not hasattr(e, "format_message"):  # Typer's usage errors have it; which class they are is private
            raise
        say(f"error: {' '.join(e.format_message().split())} (gssl --help)")
        code = getattr(e, "exit_code", 2)
    sys.exit(code if isinstance(code, int) else 0)
