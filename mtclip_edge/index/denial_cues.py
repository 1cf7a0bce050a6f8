"""The cues by which ``denial`` reads a sentence: patterns of English words, and the quick search for them.

Each alternative of ``EVENTS`` is one kind of event: ``pseudo`` denies nothing though it looks so, ``post``
denies what stands before it, ``pre`` and ``predicate`` what follows, ``doubt`` leaves open what stands before
it and ``ask`` what follows, ``breaks`` and ``joint`` end a clause, the latter only where a new statement
follows.
"""

import re
from collections.abc import Iterator

_SEEN = (
    r"(?:seen|identified|present|visible|visuali[sz]ed|appreciated|demonstrated|evident|noted|detected"
    r"|apparent"
    r"|observed|found|shown|recogni[sz]ed|suspected|confirmed|delineated|discerned|imaged)"
)
_HOW = (
    r"(?:(?:significant|significantly|definite|definitely|appreciable|appreciably|interval|substantial"
    r"|substantially"
    r"|gross|grossly|further|major|obvious|acute|overall|apparent|convincing|great|greatly|much|real"
    r"|marked|markedly"
    r"|clear|clearly|particularly|necessarily|very|so|as)\s+)*"
)
_MOVED = (
    r"(?:chang\w*|unchanged|increase\w*|decrease\w*|improve\w*|worsen\w*|progress\w*|enlargement of"
    r"|difference|differ"
    r"|alter\w*|adverse|growth|evolution)"
)
_ELSEWHERE = (
    r"(?:\s+(?:well|clearly|definitely))?\s+(?:(?:on|in)\s+(?:the\s+|an?\s+|any\s+)?(?:lateral|frontal|ap|pa"
    r"|prior|previous|earlier|older|preceding|comparison|initial|other)\b|previously|before\b|earlier\b"
    r"|(?:on|in) [^,]*\bprior)"
)
_NOT = r"(?:not|n't|never|no longer)"
_BE = r"(?:is|are|was|were|has been|have been|had been|can be|could be|be)"

# In the order in which they are tried at a place; each is one kind of event in a sentence.
_PSEUDO = "|".join(
    [
        rf"\bnot?\s+{_HOW}{_MOVED}",
        rf"\bno\s+longer\s+{_HOW}{_MOVED}",
        rf"\bwithout\s+(?:any\s+)?{_HOW}{_MOVED}",
        r"\bno\s+(?:more|less|fewer)\s+than\b",
        rf"\b(?:is|are|was|were)\s+{_NOT}\s+(?:as\s+)?(?:well|fully|completely|adequately|clearly"
        rf"|entirely)[-\s]+\w+",
        rf"\b(?:is|are|was|were|has|have|had|does|do"
        rf"|did)\s+{_NOT}\s+(?:yet\s+)?(?:\w+ly\s+)?(?:been\s+)?(?:resolved?|clear(?:ed)?"
        r"|removed|excluded|ruled\s+out|disappear(?:ed)?|gone)\b",
        r"\bwith\s+or\s+without\b|\bwithout\s+or\s+with\b",
        r"\bnot\s+(?:only|necessarily|certain|sure|otherwise|surprising\w*|unexpected\w*|unlikely"
        r"|yet resolved|resolved"
        r"|completely resolved|cleared|been removed)\b",
        r"\b(?:no|not)\s+(?:prior|previous|comparison|older|earlier)\s+(?:\w+\s+)?(?:available|studies"
        r"|study|films?|exams?"
        r"|examinations?|images?|radiographs?)\b",
        rf"\b{_NOT}\s+(?:as\s+)?(?:well|fully|completely|adequately|clearly|optimally|entirely|included"
        rf"|ideally)[-\s]+"
        rf"(?:\w+\s+)?(?:{_SEEN}|evaluated|assessed|characteri[sz]ed|imaged|included|explained|defined)",
        rf"(?:\b{_BE}\s+)?\b{_NOT}\s+(?:\w+\s+)?{_SEEN}{_ELSEWHERE}",
        r"\b(?:can\s?not|can't|could\s+not|couldn't|not|difficult\s+to|hard\s+to|unable\s+to"
        r"|impossible\s+to|nor)\s+"
        r"(?:\w+ly\s+)?(?:be\s+)?(?:\w+ly\s+)?(?:exclude[ds]?|ruled?\s+out|dismiss\w*)",
        r"\bno\s+(?:doubt|question)\b",
        r"\bwithout\s+(?:contrast|complication|intravenous|oral)\b",
        r"\b(?:partial(?:ly)?|near(?:ly)?|almost|largely|mostly|incomplete(?:ly)?|essentially un|not)[ -]+"
        r"(?:(?:total|complete|interval)(?:ly)?\s+)?(?:resolved|resolution|cleared|clearing|removal)",
    ]
)
_POST = "|".join(
    [
        rf"(?:\b{_BE}\s+)?\b{_NOT}\s+(?:\w+ly\s+|currently\s+|any\s*more\s+|longer\s+|otherwise\s+"
        rf"|been\s+)*{_SEEN}\b",
        rf"\b(?:can\s?not|can't|could\s+not|isn't|aren't|wasn't|weren't)\s+(?:be\s+)?(?:\w+ly\s+)?{_SEEN}\b",
        r"(?:\b(?:is|are|was|were|appears?|remains?)\s+)?\babsent\b(?!\s+of)",
        r"\b(?:has|have|had)\s+(?:now\s+|since\s+|completely\s+|entirely\s+|fully\s+|essentially\s+)*"
        r"(?:resolved|cleared|disappeared|healed completely)\b(?!\s+(?:from|in part|partially))",
        r"\b(?:has|have)\s+been\s+(?:removed|excluded|ruled\s+out|evacuated|withdrawn|discontinued)\b",
        r"\b(?:is|are|was|were)\s+(?:now\s+)?(?:removed|excluded|ruled\s+out|gone|resolved|cleared"
        r"|negative|unlikely"
        r"|highly unlikely|not likely|felt to be unlikely|felt unlikely|considered unlikely)\b",
        r"\b(?:seems?|appears?)\s+(?:\w+\s+)?(?:unlikely|resolved|to have (?:resolved|cleared))\b",
        r"\bunlikely(?=\s*(?:$|[.,;)]))",
        r"\bresolved(?=\s*(?:$|[.,;)]|\bsince|\bfrom|\bin the interval|\bcompared))",
        r"(?:[:=]|(?<=\s)-)\s*(?:none|no|absent|negative|nil|not\s+\w+)(?=\s*(?:$|[.,;)]))",
        r"\bnone\s+(?:seen|identified|present|visible|noted)\b",
    ]
)
# What may be missed: neither there nor not there.
_DOUBT = rf"\b(?:may|might|could)\s+{_NOT}\s+be\s+(?:\w+ly\s+)?{_SEEN}\b"
_ASK = "|".join(
    [
        r"\b(?:evaluate|evaluation|assess|assessment|check|look|looking|search|screen|screening"
        r"|eval)\s+for\b",
        r"\b(?:rule\s+out|r/o)\b",
        r"\bto\s+(?:\w+ly\s+|help\s+|better\s+)?(?:exclude|rule\s+out|evaluate|assess|confirm|document)\b",
        r"\bto\s+(?:determine|see|establish)\s+(?:if|whether)\b(?:\s+there\s+(?:is|are)\b)?",
        r"\?(?=\s*\w)",
        r"\bquery\b",
        r"\bif\s+(?:there\s+is\s+)?(?:clinical\s+)?(?:concern|suspicion|suspected)\b",
    ]
)
_PREDICATE = (
    rf"\b(?:is|are|was|were|does|do|did|has|have|appears?|remains?)\s+{_NOT}\b"
    r"|\b(?:isn't|aren't|wasn't|weren't|doesn't|don't)\b"
)
_PRE = "|".join(
    [
        r"\bno\b(?!\.\s*\d)",
        r"\bnot\b|\bnor\b|\bneither\b|\bnever\b|\bnone\s+of\b|\bnothing\b",
        r"\bwithout\b|\bw/o\b|\bdevoid\s+of\b|\bfree\s+(?:of|from)\b|\bclear\s+of\b|\bcleared\s+of\b",
        r"\bnegative\s+for\b|\babsence\s+of\b|\babsent\s+of\b|\black(?:s|ing)?(?:\s+of)?\b|\bden(?:y|ies"
        r"|ied)\b",
        r"\bfail(?:s|ed)?\s+to\s+(?:show|demonstrate|reveal|identify)\b|\bargues?\s+against\b",
        r"\b(?:resolution|disappearance|removal|evacuation|clearing|clearance)\s+of\b",
        r"\bcleared\s+(?!(?:of|from|in|up|since|by|and|or|with)\b)(?=\w)",
        r"\bresolved\s+(?=\w)(?!(?:since|from|in|compared|on|and|or|with)\b)|\bexclud(?:es|ing)\b|\brul(?:es|ed"
        r"|ing)\s+out\b",
        r"\brather\s+than\b|\bas\s+opposed\s+to\b|\bunlikely\s+to\s+(?:be|represent|reflect)\b|\bunlikely\b",
    ]
)
_NAMED_BEFORE = (
    r"(?:nodules?|mass(?:es)?|lesions?|opacit(?:y|ies)|effusions?|consolidations?|pneumothorax|tubes?"
    r"|catheters?|fractures?)\b"
)
_BREAK = "|".join(
    [
        r"\b(?:but|however|although|though|yet|whereas|while|nevertheless|otherwise)\b",
        r"\b(?:except(?:\s+for|\s+that|ing)?|other\s+than|aside\s+from|apart\s+from"
        r"|with\s+the\s+exception\s+of|besides|beyond)\b",
        r"\b(?:despite|in\s+spite\s+of|following|after|status\s+post|s/p|post|secondary\s+to|due\s+to"
        r"|because|since|given)\b",
        r"\b(?:there|it|this|these)\s+(?:is|are|was|were|has|have|remains?|persists?|may|might|could)\b",
        r"\bin\s+(?:a|this|the)\s+(?:\w+\s+)?patient\b|\bin\s+the\s+setting\s+of\b|\bwhich\b|\bwho\b",
        rf"\b(?:within|in|around|adjacent\s+to)\s+(?:the|this|these|that)\s+(?:\w+\s+){{0,2}}{_NAMED_BEFORE}",
        r"(?<!consistent )(?<!compatible )(?<!associated )(?<!keeping )(?<!along )\bwith\b(?!\s+(?:or"
        r"|certainty|confidence))",
        r":(?!\s*(?:none|no|absent|negative|nil|not)\b)|(?<=\s)-{1,2}\s(?!\s*(?:none|no|absent|negative"
        r"|nil)\b)",
    ]
)
EVENTS = re.compile(
    f"(?P<pseudo>{_PSEUDO})|(?P<doubt>{_DOUBT})|(?P<post>{_POST})|(?P<ask>{_ASK})|(?P<predicate>{_PREDICATE})|(?P<pre>{_PRE})"
    f"|(?P<breaks>{_BREAK})|(?P<joint>,|\\band\\b(?!/or))",
    re.IGNORECASE,
)
# The words and signs that an event may begin with: looking them up is four times as quick as trying every
# alternative at every letter.
_TOKEN = re.compile(r"[^\W\d_]+(?:['/][^\W\d_]+)?|[,:=?-]")
_BEGINS = frozenset(
    """
    no not never longer can cannot can't could may might couldn't isn't aren't wasn't weren't doesn't don't
    difficult hard unable impossible nor neither none nothing without with w/o devoid free clear
    cleared negative absence absent lack lacks lacking deny denies denied fail fails failed argue
    argues resolution disappearance removal evacuation clearing clearance resolved excludes excluding
    rules ruled ruling rule r/o rather as unlikely partial partially near nearly almost largely mostly
    incomplete incompletely essentially is are was were be has have had does do did appear appears
    remain remains seem seems evaluate evaluation assess assessment check look looking search screen
    screening eval to query if but however although though yet whereas while nevertheless otherwise
    except excepting other aside apart the besides beyond within around adjacent despite in following
    after status s/p post secondary due because since given there it this these which who and , : = ?
    -
    """.split()  # noqa: SIM905
)
# Cheap: most sentences hold none of it and are affirmed as they stand.
CUE = re.compile(
    r"n't\b|\b(?:no|not|nor|neither|never|none|nothing|without|w/o|devoid|free|clear(?:ed|ing|ance)?"
    r"|negative|absen[ct]e?"
    r"|lack\w*|den(?:y|ies|ied)|fail\w*|argues?|resol\w+|disappear\w+|remov\w+|evacuat\w+|exclu\w+|rul\w+"
    r"|rather|opposed"
    r"|unlikely|gone|nil|can\s?not|withdrawn|discontinued|evaluat\w+|eval|assess\w*|check|look\w*|search"
    r"|screen\w*|r/o|confirm"
    r"|document|determine|whether|query|concern|suspicion|suspected)\b|\?",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(
    r"[;!]|\?(?!\s*[a-z])|(?<!\bvs)(?<!\bdr)(?<!\bapprox)\.(?!\d)|\n(?=\s*(?:[-*•A-Z0-9(]|\n|$))"
)
_VERB = (
    r"\b(?:is|are|was|were|has|have|had|remains?|appears?|shows?|demonstrates?|persists?|seems?|measures?"
    r"|overlies|projects?"
    r"|extends?|may|might|can\s?not|could|should|reveals?|suggests?|represents?|contains?)\b"
)
OWN_VERB = re.compile(_VERB, re.IGNORECASE)
# "No effusion, pneumothorax or mass is seen": a verb that belongs to the whole list, denial included.
SHARED_VERB = re.compile(rf"\b{_BE}\s+(?:\w+ly\s+)?{_SEEN}\b", re.IGNORECASE)
STATES_STRONGLY = re.compile(
    r"\s*(?:and\s+)?(?:(?:the|an?|some|again|also|with)\s+)?(?:mild(?:ly)?|moderate(?:ly)?|severe(?:ly)?"
    r"|minimal(?:ly)?"
    r"|slight(?:ly)?|stable|unchanged|persistent|persisting|chronic|old|healed|healing|known|borderline"
    r"|tortuous|residual"
    r"|improv(?:ed|ing)|status|postoperative|postsurgical|post-?op|mildly|continued|worsening|resolving"
    r"|redemonstrat\w+"
    r"|similar|there|again|it|this|findings?|overall)\b",
    re.IGNORECASE,
)
STATES = re.compile(
    r"\s*(?:and\s+)?(?:the|an?|small|tiny|trace|bilateral|bibasilar|basilar|increased|decreased|new"
    r"|calcified|left|right"
    r"|heart|cardiac|aorta|lungs?|subtle|faint|some|few|likely|probable|possible|multiple|several)\b",
    re.IGNORECASE,
)
ALTERNATIVE = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
SEGMENT_END = re.compile(rf",|\band\b|{_BREAK}", re.IGNORECASE)
CLAUSE_END = re.compile(_BREAK, re.IGNORECASE)
SUBJECT_IS_FINDING = re.compile(
    r"effusion|pneumothora|consolidat|opaci|infiltrat|edema|nodul|\bmass|atelecta|pneumoni|fractur"
    r"|congest|emphysema|scar"
    r"|granulom|calcif|lesion|hernia|thicken|cavit|adenopath|tube|catheter|line\b",
    re.IGNORECASE,
)


def events(text: str) -> Iterator["re.Match[str]"]:
    """The cues and ends of clauses in a sentence, as ``EVENTS.finditer`` gives them, sooner."""
    last = 0
    for token in _TOKEN.finditer(text):
        if token.start() < last or token.group().lower() not in _BEGINS:
            continue
        if event := EVENTS.match(text, token.start()):
            yield event
            last = event.end()
