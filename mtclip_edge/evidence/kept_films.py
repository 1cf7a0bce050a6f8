"""The validation films that a bundle keeps, so that percentiles and verdicts are measured again when its
reports change: vectors, logits, labels and views; whose they are by salted hashes only.

A hash is a pseudonym, no anonymity: who knows a patient's id, and has the bundle, can tell whether it is
among them.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.manifest import ValidationRecord
from ..errors import ArtefactDamaged
from ..files import load_array, replace_with
from ..inference.study_vector import study_vector
from ..studies import FRONTAL, LABEL_CODES, LATERAL, Film, Study, view_code

_HASH = 16  # bytes of a pseudonym


def _row_type(dim: int) -> np.dtype:
    whose = [(name, "u1", (_HASH,)) for name in ("patient", "study", "source")]
    told = [(name, "<i1") for name in ("label", "view", "site")]
    return np.dtype([*whose, *told, ("logit", "<f4"), ("vector", "<f4", (dim,))])


@dataclass(frozen=True)
class KeptFilms:
    """``rows`` is a structured array [films] with the fields of ``_row_type``; a label is a code of
    ``LABEL_CODES``, ``site`` is 1 for films that the bundle was refitted with.
    """

    salt: str
    rows: np.ndarray

    @classmethod
    def made(
        cls,
        films: Sequence[Film],
        studies: Sequence[Study],
        vectors: np.ndarray,
        logits: np.ndarray,
        *,
        salt: str | None = None,
        site: bool = False,
    ) -> "KeptFilms":
        """Of films with their studies, unit vectors float32 [films, dim] and logits float32 [films]; a new
        salt where none is given. ``site``: they are a site's own.
        """
        salt = salt or secrets.token_hex(16)
        rows = np.zeros(len(studies), _row_type(vectors.shape[1]))
        for name, words in (
            ("patient", [s.patient_id for s in studies]),
            ("study", [s.study_id for s in studies]),
            ("source", [s.source for s in studies]),
        ):
            rows[name] = np.array([list(pseudonym(salt, word)) for word in words]).reshape(-1, _HASH)
        rows["label"] = [LABEL_CODES[study.label] for study in studies]
        rows["view"] = [view_code(film.view) for film in films]
        rows["vector"], rows["logit"], rows["site"] = vectors, logits, site
        return cls(salt, rows)

    @classmethod
    def of(cls, bundle: Bundle) -> "KeptFilms | None":
        """Those of a bundle; None where it keeps none. Errors: ArtefactDamaged."""
        record = bundle.manifest.site.validation
        if record is None:
            return None
        rows = load_array(bundle.file(record.file))
        if rows.dtype != _row_type(bundle.model.dim) or rows.shape != (record.films,):
            raise ArtefactDamaged(f"{bundle.path / record.file}: not the films that the manifest tells of")
        return cls(record.salt, rows)

    def write(self, path: Path) -> ValidationRecord | None:
        """The manifest's entry of the file that is written; None, and no file, of no films."""
        if not len(self.rows):
            return None

        def save(file: Path) -> None:
            with file.open("wb") as out:
                np.save(out, self.rows, allow_pickle=False)

        replace_with(path, save)
        return ValidationRecord(path.name, len(self.rows), self.salt)

    def held(self, kind: str, words: Iterable[str]) -> dict[str, np.ndarray]:
        """Of some studies, patients or sources (``kind``: study, patient, source) those whose films are here,
        with their rows, int64.
        """
        rows: dict[bytes, list[int]] = {}
        for row, name in enumerate(self.rows[kind]):
            rows.setdefault(name.tobytes(), []).append(row)
        found = ((word, rows.get(pseudonym(self.salt, word))) for word in words)
        return {word: np.array(held, np.int64) for word, held in found if held}

    def without(self, rows: Iterable[int]) -> "KeptFilms":
        return replace(self, rows=np.delete(self.rows, sorted(rows)))

    def of_site(self, site: bool) -> "KeptFilms":
        """The films that the bundle was refitted with, or those of its export."""
        return replace(self, rows=self.rows[self.rows["site"] == site])

    def with_site(self, films: "KeptFilms | None") -> "KeptFilms":
        """With a site's films, of the same salt, in place of those of an earlier refit; None: without any."""
        rows = self.of_site(False).rows
        return replace(self, rows=rows if films is None else np.concatenate([rows, films.rows]))

    def of_view(self, seen: str) -> "KeptFilms":
        """The films of a view; of ``both`` a row for each study that has both, as a query of it has it."""
        if seen != "both":
            return replace(
                self, rows=self.rows[self.rows["view"] == (LATERAL if seen == "lateral" else FRONTAL)]
            )
        groups: dict[bytes, list[int]] = {}
        for row, study in enumerate(self.rows["study"]):
            groups.setdefault(study.tobytes(), []).append(row)
        both = [some for some in groups.values() if len(set(self.rows["view"][some].tolist())) > 1]
        rows = self.rows[[some[0] for some in both]].copy()
        for place, some in enumerate(both):
            seen_rows = self.rows[some]
            rows["vector"][place], rows["logit"][place] = study_vector(
                seen_rows["vector"], seen_rows["logit"], seen_rows["view"]
            )
        return replace(self, rows=rows)


def pseudonym(salt: str, word: str) -> bytes:
    """What stands for an id: the first half of a salted SHA-256."""
    return hashlib.sha256(f"{salt}:{word}".encode()).digest()[:_HASH]
