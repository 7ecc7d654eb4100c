"""A model as a step of scikit-learn's pipelines: scikit-learn's own checks, and ours of its promises on real images."""

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from aae_zoo.runtime import InvalidInput, load
from aae_zoo.sklearn import Encoder

# scikit-learn's checks that transform tables of 2 to 5 columns of any numbers, which are no images.
TABLES = (
    *("fit_score_takes_y", "estimators_dtypes", "pipeline_consistency", "estimators_pickle", "dict_unchanged"),
    *("f_contiguous_array_estimator", "transformer_general", "transformer_preserve_dtypes", "fit_idempotent"),
    *("transformers_unfitted_stateless", "methods_sample_order_invariance", "methods_subset_invariance"),
)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float64]:
    """200 digits as rows [n, 64] in [0, 1], as scikit-learn has them."""
    rows: NDArray[np.float64] = load_digits().data[:200] / 16
    return rows


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api_input")
def test_it_is_an_estimator() -> None:
    excused = {f"check_{name}": "the columns are no image's pixels" for name in TABLES}
    excused["check_estimator_sparse_tag"] = "fit looks at nothing, sparse or not"
    found = check_estimator(Encoder("digits-gauss"), expected_failed_checks=excused, on_fail="raise")
    assert {check["check_name"] for check in found if check["status"] == "xfail"} == set(excused)
    assert sum(check["status"] == "passed" for check in found) > 20


def test_rows_and_images_give_the_models_codes(pixels: NDArray[np.float64]) -> None:
    encoder, model = Encoder("digits-gauss"), load("digits-gauss")
    images = pixels.reshape(-1, 1, 8, 8)
    assert np.array_equal(encoder.transform(pixels), model.encode(images))
    assert np.array_equal(encoder.transform(images), model.encode(images))
    assert np.array_equal(encoder.score_samples(pixels), -model.score(images).score)
    assert list(encoder.get_feature_names_out()) == ["encoder0", "encoder1"]


def test_it_keeps_scikit_learns_promises_on_images(pixels: NDArray[np.float64]) -> None:
    encoder = Encoder("digits-gauss")
    before = pixels.copy()
    codes = encoder.fit(pixels).transform(pixels)
    assert np.array_equal(pixels, before)
    assert np.allclose(encoder.fit_transform(pixels), codes)
    for other in (clone(encoder), pickle.loads(pickle.dumps(encoder))):  # noqa: S301 - made here
        assert np.allclose(other.transform(pixels), codes, atol=1e-6)
    assert np.allclose(encoder.transform(np.asfortranarray(pixels)), codes)
    assert np.allclose(encoder.transform(pixels[::-1]), codes[::-1], atol=1e-6)
    assert np.allclose(np.concatenate([encoder.transform(row[None]) for row in pixels[:5]]), codes[:5], atol=1e-6)


def test_it_is_a_step_of_pipelines(pixels: NDArray[np.float64]) -> None:
    labels = load_digits().target[:200]
    assert make_pipeline(Encoder("digits-gauss"), LogisticRegression()).fit(pixels, labels).score(pixels, labels) > 0.6
    clusters = make_pipeline(Encoder("digits-gauss"), KMeans(3, random_state=0)).fit_predict(pixels)
    assert set(clusters) == {0, 1, 2}


def test_another_model_is_loaded_when_it_is_asked_for(pixels: NDArray[np.float64]) -> None:
    encoder = Encoder("digits-gauss")
    assert encoder.transform(pixels).shape == (200, 2)
    encoder.set_params(model="mnist-gauss8", resize=True)
    assert encoder.transform(pixels.reshape(-1, 8, 8)).shape == (200, 8)


def test_what_is_no_image_is_one_sentence() -> None:
    with pytest.raises(InvalidInput, match=r"have shape \[3, 5\], expected \[n, 1, 8, 8\]"):
        Encoder("digits-gauss").transform(np.zeros((3, 5)))
