"""The arguments and options of ``mtclip query``, one line each, by the panels of its help.

Apart from those of the other commands: a type costs 50 µs at every start, and there are a hundred.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

_input = partial(Option, rich_help_panel="Input")
_search = partial(Option, rich_help_panel="Search")
_filter = partial(Option, rich_help_panel="Filters")
_evidence = partial(Option, rich_help_panel="Evidence")
_output = partial(Option, rich_help_panel="Output")
_dicom = partial(Option, rich_help_panel="DICOM")

Images = Annotated[
    list[str] | None, Argument(metavar="[IMAGE|DIR|GLOB|-]...", help="Films; - reads one from stdin.")
]
Text = Annotated[str | None, _input(help="Search reports and films by a text instead.")]
FilesFrom = Annotated[str | None, _input(metavar="FILE|-", help="A list of films, one path a line.")]
Watch = Annotated[
    Path | None,
    _input(metavar="DIR", help="Answer films as they arrive in a folder, until Ctrl-C.", show_default=False),
]
Recursive = Annotated[bool, _input(help="Look into subfolders.")]
_ISOLATED = "Open films, zips and DICOMDIRs in a process of its own, which a bad one may end."
Isolated = Annotated[bool, _input("--isolated", help=_ISOLATED)]
Force = Annotated[bool, _input("--force", help="Answer films that are rejected all the same.")]
Invert = Annotated[bool, _input("--invert", help="Take the films' grey values the other way round.")]

Searched = Annotated[
    Path | None,
    _search("--bundle", envvar="MTCLIP_BUNDLE", help="The bundle to search.", show_default="demo"),
]
_LIBRARY = "Search the reports of a database instead: postgresql://host/database, or service=NAME."
OfLibrary = Annotated[
    str | None,
    _search("--library", envvar="MTCLIP_LIBRARY", metavar="URL", help=_LIBRARY, show_default=False),
]
HowMany = Annotated[int, _search("-k", help="How many reports.")]
Exact = Annotated[bool, _search("--exact", help="Compare with every report instead of the HNSW index.")]
Fuse = Annotated[str, _search(help="How much the reports' own films count: off, auto, or a weight up to 1.")]
_RERANK = "Let the abnormal head change the order of reports, where the bundle stores by how much."
Rerank = Annotated[bool, _search(help=_RERANK)]
Device = Annotated[str, _search(envvar="MTCLIP_DEVICE", help="auto, cpu or cuda.")]
Precision = Annotated[str, _search(envvar="MTCLIP_PRECISION", help="auto, or one that the bundle holds.")]

View = Annotated[str | None, _filter(help="Only reports with a film of this view: PA, AP, frontal, lateral.")]
Label = Annotated[str | None, _filter(help="Only normal, abnormal or unknown reports.")]
Finding = Annotated[str | None, _filter(help="Only reports with this finding.")]
OfSource = Annotated[str | None, _filter(help="Only studies of this source, as index stats names it.")]
Since = Annotated[str | None, _filter(metavar="DATE", help="Only studies from this day, month or year on.")]
Until = Annotated[str | None, _filter(metavar="DATE", help="Only studies up to this day, month or year.")]
Match = Annotated[
    str | None, _filter(metavar="WORDS", help="Only reports that affirm these words: effusion NOT left.")
]
MatchAny = Annotated[
    str | None, _filter(metavar="WORDS", help="Only reports with these words, affirmed or denied.")
]
ExcludePatient = Annotated[
    list[str] | None, _filter(metavar="ID", help="No study of this patient. May repeat.")
]
_OWN = "The patient's own reports apart, by date, and none of them among the others: an id of theirs, or of "
OwnPriors = Annotated[
    str | None, _filter(metavar="ID", help=f"{_OWN}a study of theirs in the bundle.", show_default=False)
]
MinPercentile = Annotated[
    float | None,
    _filter(metavar="P", help="Only reports more alike than for P % of ordinary films.", show_default=False),
]
Strict = Annotated[
    bool, _filter("--strict", help="Exit 1 where an excluded patient has no study in the bundle.")
]

Explain = Annotated[
    Path | None, _evidence(metavar="PNG", help="Write where one film resembles the best hit, or --text.")
]

_FORMATS = "table, json, jsonl, csv or ids; a table on a terminal, else jsonl."
Format = Annotated[str | None, _output("--format", help=_FORMATS, show_default=False)]
Json = Annotated[bool, _output("--json", help="The same as --format json.")]
_SAVE = "Write the answers with their evidence to one page; with --watch a folder, a page for each film."
Save = Annotated[
    Path | None,
    _output(metavar="HTML", help=_SAVE, show_default=False),
]
Full = Annotated[bool, _output("--full", help="A table with whole reports, of each film of many too.")]
Bom = Annotated[bool, _output("--bom", help="With --format csv: begin with the mark that Excel wants.")]
_SORT = "Order of many films: verdict, abnormal (the most likely first) or name."
Sort = Annotated[str | None, _output("--sort", help=_SORT, show_default="as given")]
Maps = Annotated[
    bool, _output("--maps", help="With --save: a heat map of each film's best hit, none of a normal report.")
]
NoFilm = Annotated[bool, _output("--no-film", help="With --save: leave the films out of the page.")]

By = Annotated[str, _dicom(help="film, or study: one answer for the films of a DICOM study or folder.")]
Render = Annotated[
    str | None,
    _dicom(help="Grey values of DICOM films: voi, percentile or minmax.", show_default="the bundle's"),
]
ShowIds = Annotated[
    bool, _dicom("--show-ids", help="Say whose film it is: the ids, name and date of a DICOM header.")
]
