"""A model as a step of scikit-learn's pipelines: pictures in, codes or anomaly scores out. Needs scikit-learn.

from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from aae_zoo.sklearn import Encoder
clusters = make_pipeline(Encoder("mnist-gauss"), KMeans(10)).fit_predict(images)
"""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from aae_zoo.runtime import Model, load


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The encoder of a model, which was trained elsewhere: `fit` learns nothing, and need not be called.

    `X` are images of every kind that `Model.encode` takes, or rows [n, C * H * W] of pixels, as scikit-learn has them.

    Args:
        model: what `load` takes: a name of the catalogue, a bundle's folder, or "org/repo[@revision]".
        device: as for `load`.
        resize: take images of any size.
        invert: as for `Model.encode`.
    """

    def __init__(
        self,
        model: str = "mnist-gauss",
        *,
        device: str = "auto",
        resize: bool = False,
        invert: Literal["auto", "yes", "no"] | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.resize = resize
        self.invert = invert

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's names
        """Learn nothing."""
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The codes z [n, latent] of images.

        Raises:
            InvalidInput: as for `Model.encode`.
        """
        return self._loaded().encode(self._images(X), resize=self.resize, invert=self.invert)

    def score_samples(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """How usual images are [n]: their anomaly scores with the sign turned, as scikit-learn has it.

        Raises:
            InvalidInput: as for `Model.score`.
        """
        return -self._loaded().score(self._images(X), resize=self.resize, invert=self.invert).score

    @property
    def _n_features_out(self) -> int:
        return self._loaded().manifest.latent

    def _loaded(self) -> Model:
        """The model, loaded when it is first needed, and again where a parameter has changed since."""
        key = (self.model, self.device)
        if getattr(self, "_key", None) != key:
            self._model, self._key = load(self.model, device=self.device), key
        return self._model

    def _images(self, X: Any) -> Any:  # noqa: N803
        """Images, of which rows of pixels become images of the model's shape."""
        shape: tuple[int, ...] = getattr(X, "shape", ())
        axes = self._loaded().shape
        return np.asarray(X).reshape(-1, *axes) if len(shape) == 2 and shape[1] == np.prod(axes) else X

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.no_validation = True  # the model looks at what it is given, and says more of it
        return tags
