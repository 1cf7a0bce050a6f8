"""``mtclip refit``: a site's own films fit what queries are measured by, or the maker's values come back."""

from ..errors import WrongOption
from ..progress import say, step
from . import options


def refit(
    bundle: options.Bundle,
    source: options.SiteFilms = None,
    undo: options.Undo = False,
    split: options.Split = "all",
    map: options.Map = None,
    allow_bad_rows: options.AllowBadRows = False,
    device: options.Device = "auto",
) -> None:
    """Fit calibration, operating point, percentiles, verdicts and film gate with films of your own site.

    Labels are needed for calibration and operating point only. The maker's values stay, and --undo brings
    them back.
    """
    if undo == (source is not None):
        raise WrongOption("refit", "expected a SOURCE of films, or --undo", "see: mtclip refit --help")
    from ..bundle.demo import check_changeable

    check_changeable(bundle)
    from ..export.fitted import refit as fitting

    if undo:
        fitting.undo(bundle)
        say(f"{bundle}: the maker's values hold again; next: mtclip query FILM --bundle {bundle}")
        return
    from ..display.progress_bars import ProgressBars
    from ..errors import not_among
    from ..sources.source import open_source, with_map
    from ..studies import SPLITS

    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))
    with ProgressBars() as bars:
        with step(bars, "reading the source"):
            reading = open_source(with_map(str(source), map or ()))
        for line in reading.summary_lines():
            bars.say(line)
        reading.refuse_bad_rows(allow_bad_rows)
        studies = reading.studies if split == "all" else reading.split(split)
        fitting.refit(bundle, studies, device=device, progress=bars, say=bars.say)
        bars.say(f"{bundle}: refitted; mtclip refit {bundle} --undo takes it back")
        bars.say(options.next_line(("query", "FILM", "--bundle", bundle)))
