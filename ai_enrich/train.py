"""`make model`: train the local provider's two models from ai_enrich/data, the same each time."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from ai_enrich import features, local
from ai_enrich.dataset import Example, labels_of, read_split

Array = NDArray[np.float64]

# Chosen on the training and validation splits: docs/enrichment.md.
REGULARIZATION = 10.0
SHAPE_WEIGHT = 0.06
EMBEDDING_WEIGHT = 1.0
RARE = 2
FOLDS = 5


class Trainer:
    """Features and one logistic regression a task, fitted on some examples."""

    def __init__(self, examples: Sequence[Example], embedded: Array | None) -> None:
        """Fit on labelled examples; `embedded` has their rows, or None for no embeddings."""
        conversations = [features.readable(example.conversation) for example in examples]
        self.words = TfidfVectorizer(analyzer=features.words, min_df=RARE, sublinear_tf=True)
        counted = self.words.fit_transform(conversations)
        shapes = np.array([features.shape(each) for each in conversations], dtype=float)
        self.shape_mean = shapes.mean(axis=0)
        self.shape_scale = SHAPE_WEIGHT / (shapes.std(axis=0) + 1e-6)
        self.embedding_mean = self.embedding_scale = np.zeros(0)
        if embedded is not None:
            self.embedding_mean = embedded.mean(axis=0)
            spread = embedded.var(axis=0).reshape(local.VIEWS, -1).sum(axis=1)
            self.embedding_scale = np.repeat(EMBEDDING_WEIGHT / np.sqrt(spread), local.DIMENSIONS)
        matrix = self._matrix(counted, shapes, embedded)
        self.coefficients: dict[str, Array] = {}
        self.intercepts: dict[str, Array] = {}
        labels = labels_of(examples)
        # With an L2 penalty the weights lie in the space that the rows span: fitting there gives
        # the same model forty times faster, for there are fewer rows than words.
        eigenvalues, vectors = np.linalg.eigh((matrix @ matrix.T).toarray())
        kept = eigenvalues > 1e-8
        roots, vectors = np.sqrt(eigenvalues[kept]), vectors[:, kept]
        for task, classes in local.CLASSES.items():
            wanted = [classes.index(getattr(label, task)) for label in labels]
            fitted = LogisticRegression(
                C=REGULARIZATION, class_weight="balanced", max_iter=2000, tol=1e-6
            ).fit(vectors * roots, wanted)
            weights = (matrix.T @ (vectors / roots) @ fitted.coef_.T).T
            offsets = fitted.intercept_
            if len(classes) == 2:  # one row for the second class: make it one a class
                weights, offsets = np.vstack([-weights, weights]) / 2, np.r_[-offsets, offsets] / 2
            self.coefficients[task], self.intercepts[task] = weights, offsets

    def _matrix(
        self, counted: sparse.csr_matrix, shapes: Array, embedded: Array | None
    ) -> sparse.csr_matrix:
        parts = [counted, sparse.csr_matrix((shapes - self.shape_mean) * self.shape_scale)]
        if embedded is not None:
            parts.append(sparse.csr_matrix((embedded - self.embedding_mean) * self.embedding_scale))
        return sparse.hstack(parts).tocsr()

    def logits(self, examples: Sequence[Example], embedded: Array | None) -> dict[str, Array]:
        """One row an example, one column a class, for each task."""
        conversations = [features.readable(example.conversation) for example in examples]
        shapes = np.array([features.shape(each) for each in conversations], dtype=float)
        matrix = self._matrix(self.words.transform(conversations), shapes, embedded)
        return {
            task: matrix @ self.coefficients[task].T + self.intercepts[task]
            for task in local.CLASSES
        }

    def save(self, path: Path, calibration: tuple[float, float]) -> None:
        """Write the weights as arrays, in single and half precision."""
        arrays = {
            "vocabulary": np.frombuffer(
                "\n".join(self.words.get_feature_names_out()).encode(), dtype=np.uint8
            ),
            "idf": self.words.idf_.astype(np.float32),
            "shape_mean": self.shape_mean.astype(np.float32),
            "shape_scale": self.shape_scale.astype(np.float32),
            "embedding_mean": self.embedding_mean.astype(np.float32),
            "embedding_scale": self.embedding_scale.astype(np.float32),
            "calibration": np.array(calibration),
        }
        for task in local.CLASSES:
            arrays[f"coefficients_{task}"] = self.coefficients[task].astype(np.float16)
            arrays[f"intercepts_{task}"] = self.intercepts[task].astype(np.float32)
        np.savez_compressed(path, **arrays)


def folds(examples: Sequence[Example]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit on and rows to judge, families kept together, labels spread evenly."""
    kinds = [f"{label.intent} {label.lead_class}" for label in labels_of(examples)]
    families = [example.family for example in examples]
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return [*splitter.split(kinds, kinds, families)]


def cross_validated(examples: Sequence[Example], embedded: Array | None) -> dict[str, Array]:
    """The logits of each example by a model that has not seen its family."""
    logits = {
        task: np.zeros((len(examples), len(classes))) for task, classes in local.CLASSES.items()
    }
    for fitted, judged in folds(examples):
        trainer = Trainer(
            [examples[row] for row in fitted], None if embedded is None else embedded[fitted]
        )
        found = trainer.logits(
            [examples[row] for row in judged], None if embedded is None else embedded[judged]
        )
        for task in local.CLASSES:
            logits[task][judged] = found[task]
    return logits


def calibrate(examples: Sequence[Example], logits: Array) -> tuple[float, float]:
    """Slope and intercept (Platt) from the log-odds of `high` to the share that is high."""
    odds = np.array([[local.log_odds_of_high(row)] for row in logits])
    is_high = [label.lead_class == "high" for label in labels_of(examples)]
    fitted = LogisticRegression(C=1e6).fit(odds, is_high)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def train(folder: Path, models: Sequence[local.LocalModel] = local.LOCAL_MODELS) -> list[Path]:
    """Write the models into `folder`: fitted on training and validation, never on test."""
    examples = read_split("train") + read_split("validation")
    paths = []
    for model in models:
        embedded = (
            local.embed([features.readable(example.conversation) for example in examples])
            if model == local.MODEL
            else None
        )
        # Thousands of products of small matrices: threads would wait for each other at every one.
        with threadpool_limits(1):
            calibration = calibrate(examples, cross_validated(examples, embedded)["lead_class"])
            paths.append(folder / local.weights_path(model).name)
            Trainer(examples, embedded).save(paths[-1], calibration)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else local.weights_path(local.MODEL).parent
    for written in train(target):
        print(written)  # noqa: T201
