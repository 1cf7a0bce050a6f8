"""Films embedded and put into groups of like ones, each told by the report that is nearest to its middle.

python examples/embed_and_cluster.py FILMS [GROUPS] [BUNDLE]

Needs scikit-learn. A group is what the model sees as alike: projection and positioning count as well as
disease.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

from mtclip_edge import Retriever


def main(folder: str, groups: str = "3", bundle: str = "demo") -> None:
    films = sorted(Path(folder).glob("*.png"))
    with Retriever.open(bundle) as retriever:
        vectors = retriever.embed(films)  # float32 [films, dim]
        of_film = KMeans(int(groups), n_init=10, random_state=0).fit_predict(vectors)
        for group in range(int(groups)):
            members = np.flatnonzero(of_film == group)
            (nearest,) = retriever.search(vectors[members].mean(axis=0), k=1)
            print(f"group {group}: {len(members)} films, nearest report ({nearest.label}): {nearest.text}")
            print("  " + ", ".join(films[member].name for member in members))


if __name__ == "__main__":
    main(*sys.argv[1:])
