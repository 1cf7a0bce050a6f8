"""How much of a text a tower reads: words its list does not hold, and what is cut."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing

from mtclip_edge.errors import Refused
from mtclip_edge.text_coverage import Words, coverage

CHINESE = "\u53f3\u4fa7\u80f8\u8154\u79ef\u6db2\u3002"  # right pleural effusion


@pytest.fixture(params=[None, 8])
def model(request: pytest.FixtureRequest) -> Tokenizer:
    """A word list of six words, cutting by itself or not."""
    words = ["[UNK]", "[CLS]", "[SEP]", "left", "right", "ple", "##ural", "effusion", "."]
    made = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if request.param:
        made.enable_truncation(request.param)
    return made


def test_known_words_and_signs_need_no_line(model: Tokenizer) -> None:
    read = coverage(model, ["Left pleural effusion.", "Right effusion?!"], 8)
    assert (read.texts, read.words, read.lines()) == (2, Words(5, 0), [])


def test_unknown_words_are_counted_and_refused_above_a_half(model: Tokenizer) -> None:
    read = coverage(model, ["left new effusion", "right"], 8)
    assert read.words == Words(4, 1)
    assert read.lines() == ["1 of 4 words (25.0%) are unknown to the text tower's word list"]
    coverage(model, ["left new"], 8).refuse_unknown("--text")  # half, not more
    with pytest.raises(Refused, match="--text: 6 of 6 words are unknown to the text tower's word list"):
        coverage(model, [CHINESE], 8).refuse_unknown("--text")


def test_what_is_cut_is_told(model: Tokenizer) -> None:
    read = coverage(model, ["left " * 14, "right"], 8)  # 14 words and two ends, of which 8 are read
    assert (read.words.words, read.tokens, read.cut_texts, read.cut_tokens) == (15, 19, 1, 8)
    assert read.lines() == [
        "1 of 2 texts are longer than the 8 tokens that the text tower reads: 42.1% of all tokens are cut"
    ]


def test_nothing_is_nothing(model: Tokenizer) -> None:
    assert coverage(model, [], 8).lines() == [] and coverage(model, ["..."], 8).words.unknown_share == 0


@pytest.fixture(params=[None, 8])
def byte_pairs(request: pytest.FixtureRequest) -> Tokenizer:
    """Bytes as CLIP's, and one pair: the letter \u00fc."""
    letters = sorted(ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*letters, "\u00c3\u00bc"])}
    made = Tokenizer(BPE(words, [("\u00c3", "\u00bc")]))
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    if request.param:
        made.enable_truncation(request.param)
    return made


def test_letters_that_byte_pairs_hold_in_pieces_are_counted_and_refused_above_a_half(
    byte_pairs: Tokenizer,
) -> None:
    assert coverage(byte_pairs, ["no effusion, 12 \u00b5m \u00bd"], 99).words == Words(5, 0, 12, 1)  # the mu
    known = coverage(byte_pairs, ["f\u00fcr"], 99)
    assert (known.words, known.lines()) == (Words(1, 0, 3, 0), [])
    few = coverage(byte_pairs, ["f\u00fcr \u00df"], 99)
    few.refuse_unknown("--text")
    assert few.lines() == [
        "1 of 4 letters (25.0%) are split into bytes by the text tower's byte pairs: 1.5 tokens a letter"
    ]
    many = coverage(byte_pairs, [CHINESE], 99)
    assert many.words == Words(1, 0, 6, 6)
    with pytest.raises(
        Refused, match="--text: 6 of 6 letters are split into bytes by the text tower's byte pairs"
    ):
        many.refuse_unknown("--text")
    with pytest.raises(Refused, match="4 of 7 letters"):
        coverage(byte_pairs, [CHINESE[:4], "abc"], 99).refuse_unknown("the reports")
