"""The digits that scikit-learn brings along, as images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from skvision._compat import validated
from skvision.datasets._base import CHOICE_CONSTRAINTS, chosen


@validated(**CHOICE_CONSTRAINTS)
def load_digits_images(
    *,
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load scikit-learn's digits as grey images of 8 x 8 pixels.

    ==============   ====
    Classes            10
    Samples          1797
    Image size        8x8
    ==============   ====

    Nothing is downloaded.

    Parameters
    ----------
    classes : array-like of int or str, default=None
        Labels or names of the classes to load; None means all. The targets are
        counted anew: positions in `target_names`, which keeps the classes' order.

    n_samples : int or float, default=None
        Size of a random subset in which the classes keep their proportions, as a
        number of samples or, between 0 and 1, as a fraction. None means all.

    random_state : int, RandomState instance or None, default=None
        Determines which samples `n_samples` draws. Pass an int for reproducible
        output across multiple function calls.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    digits : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, 8, 8), dtype=uint8
            The images. The 17 grey values of the original, 0 to 16, are spread
            over 0 to 255, like those of other uint8 images.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`: the digits, unless `classes` are chosen.
        target_names : ndarray of str
            Names of the chosen classes, in the order of their labels.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    ValueError
        If a class is unknown or `n_samples` is more than there are.

    See Also
    --------
    sklearn.datasets.load_digits : The same images as rows of 64 features.
    fetch_mnist : Digits of 28 x 28 pixels.

    References
    ----------
    Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits.
    UCI Machine Learning Repository. https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> from skvision.datasets import load_digits_images
    >>> digits = load_digits_images(classes=[3, 8])
    >>> digits.data.shape, digits.data.dtype
    ((357, 8, 8), dtype('uint8'))
    >>> digits.target[:5], digits.target_names
    (array([0, 1, 0, 1, 0]), array(['3', '8'], dtype='<U1'))
    """
    digits = load_digits()
    data = np.round(digits.images * (255 / 16)).astype(np.uint8)
    names = {label: str(label) for label in range(10)}
    descr = (
        "Images of 8 x 8 pixels, with the grey values 0 to 16 spread over 0 to 255, "
        f"from the following data set.\n\n{digits.DESCR}"
    )
    found = data, digits.target.astype(np.int64), names
    return chosen(found, descr, classes, n_samples, random_state, return_X_y)
