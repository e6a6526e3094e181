"""Well-known data sets, which torchvision downloads when they are first needed."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skvision._compat import StrOptions, validated
from skvision.datasets._base import CHOICE_CONSTRAINTS, chosen
from skvision.datasets._torchvision import read_torchvision

_CONSTRAINTS = {
    "data_home": [str, os.PathLike, None],
    "subset": [StrOptions({"train", "test", "all"})],
    "download_if_missing": ["boolean"],
    **CHOICE_CONSTRAINTS,
}


@validated(**_CONSTRAINTS)
def fetch_mnist(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    download_if_missing: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load MNIST, grey images of handwritten digits.

    Download it if necessary.

    ================   =====
    Classes               10
    Training images    60000
    Test images        10000
    Image size         28x28
    ================   =====

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data, laid out as torchvision does it: the files lie in
        ``MNIST/raw``. None means the folder that the environment
        variable SKVISION_DATA names or else ``skvision`` within
        :func:`sklearn.datasets.get_data_home`.

    subset : {"train", "test", "all"}, default="train"
        Part of the data set to load; "all" is the training images followed by the
        test images.

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

    download_if_missing : bool, default=True
        If False, raise an OSError if files are missing from `data_home` instead of
        downloading them.

    Returns
    -------
    mnist : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, 28, 28), dtype=uint8
            The images, white on black.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`: the digits, unless `classes` are chosen.
        target_names : ndarray of str
            Names of the chosen classes, such as "3 - three", in the order of their
            labels, which is that of an estimator's ``classes_``.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    OSError
        If files are missing and are not or cannot be downloaded, or if one of them
        is truncated or corrupt.
    ValueError
        If a class is unknown or `n_samples` is more than there are.

    See Also
    --------
    fetch_emnist : Digits and letters, from the same source.
    load_digits_images : Small digits that need no download.

    References
    ----------
    LeCun, Y., Bottou, L., Bengio, Y. and Haffner, P. (1998). Gradient-based learning
    applied to document recognition. Proceedings of the IEEE 86(11), 2278-2324.
    http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> from skvision.datasets import fetch_mnist
    >>> X, y = fetch_mnist(return_X_y=True)  # doctest: +SKIP
    >>> X.shape, X.dtype  # doctest: +SKIP
    ((60000, 28, 28), dtype('uint8'))
    """
    found = read_torchvision("MNIST", data_home, subset, download_if_missing)
    descr = (
        "MNIST: grey images of 28 x 28 pixels of handwritten digits; 60000 for "
        "training, 10000 for testing. http://yann.lecun.com/exdb/mnist/"
    )
    return chosen(found, descr, classes, n_samples, random_state, return_X_y)


@validated(
    split=[
        StrOptions({"byclass", "bymerge", "balanced", "letters", "digits", "mnist"})
    ],
    **_CONSTRAINTS,
)
def fetch_emnist(
    *,
    split: str = "balanced",
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    download_if_missing: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load EMNIST, grey images of handwritten digits and letters.

    Download it if necessary.

    ========   =======   ===============   ===========
    split      classes   training images   test images
    ========   =======   ===============   ===========
    byclass         62            697932        116323
    bymerge         47            697932        116323
    balanced        47            112800         18800
    letters         26            124800         20800
    digits          10            240000         40000
    mnist           10             60000         10000
    ========   =======   ===============   ===========

    Parameters
    ----------
    split : {"byclass", "bymerge", "balanced", "letters", "digits", "mnist"}, \
            default="balanced"
        Which of the data set's six selections to load. "byclass" has digits, upper
        and lower case letters; in "bymerge" and "balanced", letters whose cases look
        alike are one class; in "letters", all cases are merged. Labels that `classes`
        chooses there start at 1, as those of its files do; targets start at 0.

    data_home : str or path-like, default=None
        Folder of the data, laid out as torchvision does it: the files lie in
        ``EMNIST/raw``. None means the folder that the environment
        variable SKVISION_DATA names or else ``skvision`` within
        :func:`sklearn.datasets.get_data_home`.

    subset : {"train", "test", "all"}, default="train"
        Part of the data set to load; "all" is the training images followed by the
        test images.

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

    download_if_missing : bool, default=True
        If False, raise an OSError if files are missing from `data_home` instead of
        downloading them.

    Returns
    -------
    emnist : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, 28, 28), dtype=uint8
            The images, upright, white on black.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`.
        target_names : ndarray of str
            Names of the chosen classes, in the order of their labels, which is that
            of an estimator's ``classes_``.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    OSError
        If files are missing and are not or cannot be downloaded, or if one of them
        is truncated or corrupt.
    ValueError
        If a class is unknown or `n_samples` is more than there are.

    See Also
    --------
    fetch_mnist : Digits alone.

    Notes
    -----
    The files, and with them torchvision's EMNIST, hold every image with its rows and
    columns interchanged. Here, the images are upright.

    References
    ----------
    Cohen, G., Afshar, S., Tapson, J. and van Schaik, A. (2017). EMNIST: an extension of
    MNIST to handwritten letters. https://arxiv.org/abs/1702.05373

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.datasets import fetch_emnist
    >>> emnist = fetch_emnist(split="letters", classes=["a", "b"])  # doctest: +SKIP
    >>> np.unique(emnist.target), emnist.target_names  # doctest: +SKIP
    (array([1, 2]), array(['a', 'b'], dtype='<U1'))
    """
    found = read_torchvision(
        "EMNIST", data_home, subset, download_if_missing, split=split
    )
    descr = (
        f"EMNIST, split {split}: grey images of 28 x 28 pixels of handwritten digits "
        "and letters. https://arxiv.org/abs/1702.05373"
    )
    return chosen(found, descr, classes, n_samples, random_state, return_X_y)


@validated(**_CONSTRAINTS)
def fetch_fashion_mnist(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    download_if_missing: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load Fashion-MNIST, grey images of clothes.

    Download it if necessary.

    ================   =====
    Classes               10
    Training images    60000
    Test images        10000
    Image size         28x28
    ================   =====

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data, laid out as torchvision does it: the files lie in
        ``FashionMNIST/raw``. None means the folder that the environment
        variable SKVISION_DATA names or else ``skvision`` within
        :func:`sklearn.datasets.get_data_home`.

    subset : {"train", "test", "all"}, default="train"
        Part of the data set to load; "all" is the training images followed by the
        test images.

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

    download_if_missing : bool, default=True
        If False, raise an OSError if files are missing from `data_home` instead of
        downloading them.

    Returns
    -------
    fashion : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, 28, 28), dtype=uint8
            The images, bright on black.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`: 0 to 9, unless `classes` are chosen.
        target_names : ndarray of str
            Names of the chosen classes, in the order of their labels, which is that
            of an estimator's ``classes_``.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    OSError
        If files are missing and are not or cannot be downloaded, or if one of them
        is truncated or corrupt.
    ValueError
        If a class is unknown or `n_samples` is more than there are.

    See Also
    --------
    fetch_mnist : Digits in the same format.
    fetch_cifar10 : Coloured images of animals and vehicles.

    References
    ----------
    Xiao, H., Rasul, K. and Vollgraf, R. (2017). Fashion-MNIST: a Novel Image Dataset
    for Benchmarking Machine Learning Algorithms. https://arxiv.org/abs/1708.07747

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.datasets import fetch_fashion_mnist
    >>> shoes = fetch_fashion_mnist(
    ...     classes=["Sandal", "Sneaker", "Ankle boot"], n_samples=600, random_state=0
    ... )  # doctest: +SKIP
    >>> np.unique(shoes.target, return_counts=True)  # doctest: +SKIP
    (array([0, 1, 2]), array([200, 200, 200]))
    """
    found = read_torchvision("FashionMNIST", data_home, subset, download_if_missing)
    descr = (
        "Fashion-MNIST: grey images of 28 x 28 pixels of ten kinds of clothes; 60000 "
        "for training, 10000 for testing. https://arxiv.org/abs/1708.07747"
    )
    return chosen(found, descr, classes, n_samples, random_state, return_X_y)


@validated(**_CONSTRAINTS)
def fetch_cifar10(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    download_if_missing: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load CIFAR-10, coloured images of animals and vehicles.

    Download it if necessary.

    ================   =======
    Classes                 10
    Training images      50000
    Test images          10000
    Image size         32x32x3
    ================   =======

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the data, laid out as torchvision does it: the files lie in
        ``cifar-10-batches-py``. None means the folder that the environment
        variable SKVISION_DATA names or else ``skvision`` within
        :func:`sklearn.datasets.get_data_home`.

    subset : {"train", "test", "all"}, default="train"
        Part of the data set to load; "all" is the training images followed by the
        test images.

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

    download_if_missing : bool, default=True
        If False, raise an OSError if files are missing from `data_home` instead of
        downloading them.

    Returns
    -------
    cifar10 : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, 32, 32, 3), dtype=uint8
            The images, with red, green and blue in the last axis.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`: 0 to 9, unless `classes` are chosen.
        target_names : ndarray of str
            Names of the chosen classes, in the order of their labels, which is that
            of an estimator's ``classes_``.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    OSError
        If files are missing and are not or cannot be downloaded, or if one of them
        is truncated or corrupt.
    ValueError
        If a class is unknown or `n_samples` is more than there are.

    See Also
    --------
    fetch_fashion_mnist : Grey images of clothes.
    load_image_folder : Images of your own.

    Notes
    -----
    The files are pickles. They are only opened if their MD5 checksums are those of the
    official files.

    References
    ----------
    Krizhevsky, A. (2009). Learning Multiple Layers of Features from Tiny Images.
    https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> from skvision.datasets import fetch_cifar10
    >>> pets = fetch_cifar10(classes=["cat", "dog"], subset="test")  # doctest: +SKIP
    >>> pets.data.shape  # doctest: +SKIP
    (2000, 32, 32, 3)
    """
    found = read_torchvision("CIFAR10", data_home, subset, download_if_missing)
    descr = (
        "CIFAR-10: colour images of 32 x 32 pixels of animals and vehicles; 50000 for "
        "training, 10000 for testing. https://www.cs.toronto.edu/~kriz/cifar.html"
    )
    return chosen(found, descr, classes, n_samples, random_state, return_X_y)
