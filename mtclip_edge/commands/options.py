"""The arguments and options of all commands but ``query``, one line each, and how a command shows a
document.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import not_among
from ..folders import is_url


# What several commands have.
def _table_or_json(format: str) -> str:
    if format not in ("table", "json"):
        raise not_among("format", format, ("table", "json"))
    return format


Format = Annotated[str, Option(help="table or json.", callback=_table_or_json)]
Bundle = Annotated[Path, Argument(help="The bundle.")]


def _bundle_or_library(words: str) -> Path | str:
    return words if is_url(words) else Path(words)


BundleOrLibrary = Annotated[
    Any,
    Argument(
        parser=_bundle_or_library, metavar="BUNDLE|URL", help="The bundle, or the database of a library."
    ),
]
_URL = "The database: postgresql://host/database, or service=NAME; a password only in ~/.pgpass or a service."
LibraryUrl = Annotated[str, Argument(metavar="URL", help=_URL)]
Site = Annotated[str, Option(metavar="NAME", help="Of a library: the site whose reports these are.")]
_MAKER = "Of a library: the bundle whose towers embed, and whose films measure percentiles."
Maker = Annotated[Path | None, Option("--bundle", help=_MAKER, show_default=False)]
Scrub = Annotated[
    bool, Option("--scrub", help="Of a library: write its tables anew, so that no page of them holds it.")
]
_PUSHED = "A bundle, or a folder that mtclip embed made."
Pushed = Annotated[Path, Argument(metavar="BUNDLE|DIR", help=_PUSHED)]
BundleOrDemo = Annotated[Path, Argument(help="A bundle, or demo.")]
Device = Annotated[str, Option(envvar="MTCLIP_DEVICE", help="auto, cpu or cuda.")]
Split = Annotated[str, Option(help="train, validation, test or all.")]
SplitOrFolds = Annotated[
    str | None,
    Option(help="train, validation, test or all.", show_default="test; with --folds train and validation"),
]
_MAP = "A column or value by our name: StudyUID=study_id, label:sick=abnormal. May repeat."
Map = Annotated[list[str] | None, Option(metavar="THEIRS=OURS", help=_MAP)]
AllowBadRows = Annotated[
    bool, Option("--allow-bad-rows", help="Go on where more than 5 % of the rows are bad.")
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace a file that is there.")]

# train
Data = Annotated[
    list[str], Option(help="A source of studies: KIND:PATH, or a path; docs/guide/data.md. May repeat.")
]
RunOut = Annotated[Path, Option(help="The run to write.")]
Backbone = Annotated[
    str | None, Option(help="compact, or a folder that mtclip pull made.", show_default="compact")
]
TextSide = Annotated[
    str | None,
    Option(
        help="What reads a report: transformer, lexical (word pieces alone) or both.",
        show_default="lexical for compact, transformer for aligned backbones",
    ),
]
Views = Annotated[
    str | None,
    Option(
        help="Films to train: all (laterals told apart by a learned vector) or frontal.", show_default="all"
    ),
]
Lexical = Annotated[
    bool, Option("--lexical", help="Word pieces beside the backbone's transformer: --text-side both.")
]
Config = Annotated[Path | None, Option(help="Settings in TOML; options and MTCLIP_* variables go before.")]
Unfreeze = Annotated[
    str | None, Option(help="Train the film tower too: its last N blocks, or all.", show_default="0")
]
Size = Annotated[int | None, Option(help="Pixels of the film tower's input.", show_default="the backbone's")]
Epochs = Annotated[int | None, Option(show_default="40, or 6 with --unfreeze")]
Seed = Annotated[int | None, Option(show_default="0")]
LearningRate = Annotated[float | None, Option(help="Learning rate.", show_default=False)]
BatchSize = Annotated[int | None, Option(show_default=False)]
Bce = Annotated[
    float | None, Option(help="Weight of the normal/abnormal loss; 0 leaves it out.", show_default="1")
]
SupCon = Annotated[
    float | None, Option(help="Weight of the supervised contrastive loss.", show_default="0.3")
]
Clip = Annotated[float | None, Option(help="Weight of the CLIP loss.", show_default="1")]
Dim = Annotated[int | None, Option(help="Width of the shared space.", show_default="the backbone's, or 256")]
TrainAbnormal = Annotated[
    str | None, Option(help="Labels by Open-I's MeSH terms: mesh or acute.", show_default="mesh")
]
Resume = Annotated[bool, Option("--resume", help="Continue the unfinished run in --out.")]
TrainDevice = Annotated[str | None, Option(help="auto, cpu or cuda.", show_default="auto")]

# export
Run = Annotated[Path, Argument(help="A finished run.")]
BundleOut = Annotated[Path, Option(help="The bundle to write.")]
PackedReports = Annotated[
    str | None, Option(help="The source whose reports are packed.", show_default="the run's train reports")
]
_PRECISIONS = "Comma-separated: fp32, fp16w, fp16, int8, int8-dynamic, w8."
Precisions = Annotated[str | None, Option(help=_PRECISIONS, show_default="fp32 and the fastest for a CPU")]
_BUDGET = "Change a limit of the gate, e.g. overlap=0.95. May repeat."
Budget = Annotated[list[str] | None, Option(metavar="[RUNG.]NAME=VALUE", help=_BUDGET)]
KeptDim = Annotated[
    int | None, Option(help="Keep the first numbers of each embedding only.", show_default="all")
]
NoText = Annotated[
    bool, Option("--no-text", help="Leave the text tower out: smaller, but no --text and no index build.")
]
OverwriteBundle = Annotated[bool, Option("--overwrite", help="Replace a bundle that is there.")]

# eval
EvalData = Annotated[str, Option(help="The source of films and reports.")]
Artefacts = Annotated[list[Path] | None, Argument(metavar="[RUN|BUNDLE]...", help="Compared in this order.")]
_OWN = "those of the films' own studies"
SearchedReports = Annotated[
    str | None, Option(help="The source whose reports are searched.", show_default=_OWN)
]
EvalOut = Annotated[
    Path | None,
    Option(
        help="Folder for metrics.json, report.html, films.csv.",
        show_default="RUN/eval-SPLIT, for a run; with --folds folds",
    ),
]
ZeroShot = Annotated[list[str] | None, Option(help="Judge a backbone zero-shot too. May repeat.")]
Ablate = Annotated[
    bool, Option("--ablate", help="Train and judge every combination of losses on cached features.")
]
_SEEDS = "With --ablate or --folds: how many trainings of each."
Seeds = Annotated[int | None, Option(help=_SEEDS, show_default="5; with --folds 1")]
_FULL = "Every finding in the tables, those of few studies too."
AllFindings = Annotated[bool, Option("--full", help=_FULL)]
_FOLDS = "Train and judge recipes out of fold, in so many folds by patient."
Folds = Annotated[int | None, Option(metavar="N", help=_FOLDS, show_default=False)]
_RECIPE = "With --folds: a recipe by its settings, or a TOML file with a table for each. May repeat."
Recipes = Annotated[
    list[str] | None,
    Option("--recipe", metavar="NAME=KEY=VALUE,…", help=_RECIPE, show_default="default: all defaults"),
]
FoldSeed = Annotated[int, Option(help="With --folds: what studies are divided by.")]
AllowLeaks = Annotated[
    bool, Option("--allow-leaks", help="Go on where splits share patients or films, and mark it.")
]

# pull
_BACKBONES = (
    "biomedclip, compact, eva-x-ti, clip-b16, clip-b32, whyxrayclip, an open_clip name or hub id, "
    "perhaps @COMMIT."
)
BackboneName = Annotated[str, Argument(help=_BACKBONES)]
FolderOut = Annotated[Path, Option(help="The folder to make.")]
WeightsHash = Annotated[
    str | None,
    Option(
        "--sha256", help="SHA-256 of the weights as published, as pull prints it: another file is refused."
    ),
]

# info, bench
Artefact = Annotated[
    Path | None, Argument(metavar="[BUNDLE|RUN]", help="A bundle or run; else the bundle in use.")
]
_PREVIEWS = "Pack a film of each report, at most so many pixels (512 is usual); private like the texts."
Previews = Annotated[int | None, Option("--previews", metavar="PIXELS", help=_PREVIEWS, show_default=False)]
SiteFilms = Annotated[
    str | None, Argument(metavar="[SOURCE]", help="Films of this site, with labels where there are any.")
]
Undo = Annotated[bool, Option("--undo", help="Let the values of the bundle's maker hold again.")]
ShowConfig = Annotated[bool, Option("--config", help="Show the settings of train and where each comes from.")]
ConfigFile = Annotated[Path | None, Option(help="With --config: the TOML file that train would be given.")]
Films = Annotated[Path | None, Option(help="A folder of films.", show_default="drawn films")]

# data
_KINDS = "KIND:PATH, or a path that is recognised by what it holds; docs/guide/data.md lists the kinds."
Source = Annotated[str, Argument(help=_KINDS)]
_MESH = "Labels by Open-I's MeSH terms: mesh, or acute (chronic or benign alone is unknown)."
Abnormal = Annotated[str | None, Option(help=_MESH, show_default="mesh")]
Html = Annotated[
    Path | None, Option(metavar="FILE", help="A page with a few films to look at.", show_default=False)
]
MostFilms = Annotated[
    int, Option(min=0, help="How many films are decoded at most; a sample where there are more.")
]
_SHOW = "Print patient ids and the words that may be health information too."
Show = Annotated[bool, Option("--show", help=_SHOW)]
ManifestOut = Annotated[Path, Option(metavar="FILE", help="The manifest to write: .csv or .parquet.")]

# index
TextBundle = Annotated[Path, Argument(help="A bundle with a text tower.")]
NewReports = Annotated[str, Argument(help="The source whose reports and films replace the bundle's.")]
MoreReports = Annotated[str, Argument(help="The source whose reports and films are added.")]
Studies = Annotated[list[str] | None, Option(metavar="ID", help="A study. May repeat.")]
Patients = Annotated[list[str] | None, Option(metavar="ID", help="All studies of a patient. May repeat.")]
Sources = Annotated[
    list[str] | None, Option(metavar="NAME", help="All studies of a source, as stats names it. May repeat.")
]
MissingOk = Annotated[bool, Option("--missing-ok", help="Pass over ids that nothing in the bundle has.")]
DryRun = Annotated[bool, Option("--dry-run", help="Print what would go, in counts, and change nothing.")]
_ADD_PREVIEWS = "Pack a small film of each report that has none yet; private like the texts."
AddPreviews = Annotated[bool, Option("--previews", help=_ADD_PREVIEWS)]
GrowingBundle = Annotated[Path, Argument(help="The bundle that grows.")]
OtherBundle = Annotated[Path, Argument(help="A bundle of the same model, or demo; it stays as it is.")]
_PARQUET = "A new folder for reports.parquet, studies.parquet and films.parquet."
ParquetOut = Annotated[Path, Option(metavar="DIR", help=_PARQUET)]


def next_line(*commands: tuple[str | Path, ...]) -> str:
    """What can be typed next, the words of one command or several: the last line of what a command says."""
    return "next: " + ", or ".join(shlex.join(["mtclip", *map(str, words)]) for words in commands)


def show(document: Any, lines: Callable[[Any], list[tuple[str, str]]], format: str) -> None:
    """Print a document as JSON, or what ``lines`` makes of it for a person, a name and a value each."""
    from ..display.formats import dumps
    from ..display.pairs import print_pairs

    if format == "json":
        print(dumps(document, 2))
    else:
        print_pairs(lines(document))
