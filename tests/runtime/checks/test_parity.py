"""What may be said against a graph's outputs apart from their values."""

import numpy as np
import pytest

from aae_zoo.runtime.checks.parity import problem_with


class TestRange:
    @pytest.mark.parametrize("white", [1.0, 1 + 2.0**-23])
    def test_white_may_be_one_rounding_above_one(self, white: float) -> None:
        """As ONNX Runtime's sigmoid is for a few of all logits, such as 17.807888."""
        images = {"image": np.full((2, 1, 4, 4), white, np.float32)}
        assert problem_with(images, images) is None

    @pytest.mark.parametrize("value", [-(2.0**-23), 1 + 2.0**-22])
    def test_anything_further_out_is_a_fault(self, value: float) -> None:
        images = {"image": np.full((2, 1, 4, 4), value, np.float32)}
        assert "expected [0, 1]" in str(problem_with(images, images))
