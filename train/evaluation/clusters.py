"""Finds how films and reports cluster: their places in the plane by t-SNE, and how far normal and
abnormal lie apart (silhouette).
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

_FEWEST = 5  # points; t-SNE of fewer shows nothing but its seed


def tsne(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places in the plane, float [n, 2], in which near vectors of float [n, dim] by cosine stay near (van der
    Maaten & Hinton 2008).

    scikit-learn's t-SNE with perplexity min(30, (n - 1) / 3), begun from the two principal components of the
    unit vectors, or at random from ``seed`` where there are no two. Fewer than 5 vectors are put at those
    components, or at 0. The same vectors give the same places. Only neighbourhoods mean something: neither
    the size of a cluster nor the distance between two does.
    """
    vectors, count = _unit(vectors), len(vectors)
    # One thread: 500 vectors take 2 s, with two threads on a busy machine 34 s and other places, since the
    # order of sums changes.
    with threadpool_limits(1):
        start = _principal(vectors)
        if count < _FEWEST:
            return start
        method = TSNE(
            metric="cosine",
            perplexity=min(30.0, (count - 1) / 3),
            init=(start / start[:, 0].std() * 1e-4).astype(np.float32)
            if start[:, 0].std() > 1e-6
            else "random",
            random_state=seed,
        )
        return np.asarray(method.fit_transform(vectors), np.float64)


def silhouette(vectors: np.ndarray, label: np.ndarray) -> float | None:
    """Mean silhouette of normal against abnormal by cosine (Rousseeuw 1987): 1 apart, 0 mixed, below 0 on the
    wrong side.

    ``vectors`` float [n, dim], ``label`` int [n]; unknown ones are left out. None without both classes and
    three vectors.
    """
    labelled = (label == 0) | (label == 1)
    if labelled.sum() < 3 or len(np.unique(label[labelled])) < 2:
        return None
    return float(
        silhouette_score(np.asarray(vectors, np.float64)[labelled], label[labelled], metric="cosine")
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _principal(vectors: np.ndarray) -> np.ndarray:
    """The first two principal coordinates, float [n, 2]; 0 where there is no such component."""
    places = np.zeros((len(vectors), 2))
    components = min(2, *vectors.shape)
    if components and np.ptp(vectors, axis=0).any():  # PCA of equal vectors divides by their variance, 0
        places[:, :components] = PCA(components, random_state=0).fit_transform(vectors)
    return places
