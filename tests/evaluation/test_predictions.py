import numpy as np

from kdbench.evaluation.predictions import pixels, predict


def test_every_image_is_predicted_once_in_order(digits):
    seen = []

    def session(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return images.reshape(len(images), -1)[:, 300:310]

    found = predict(session, digits.test)
    assert seen == [256, 256, 256, 232]
    assert np.array_equal(found, pixels(digits.test.images).reshape(1000, -1)[:, 300:310])


def test_pixels_lie_between_zero_and_one(digits):
    shown = pixels(digits.test.images)
    assert (shown.dtype, shown.min(), shown.max()) == (np.float32, 0.0, 1.0)
