"""Searches on a Dask cluster that survive the loss of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
from joblib import parallel_config

from skvision._compat import dask_backend
from skvision.images._maps import reference_to
from skvision.images._sequence import ImageSequence

_BACKEND = "skvision-dask"
# Less goes with each task. More is sent once, to every worker.
_BYTES_PER_TASK = 1_000_000


@contextmanager
def on_dask(client: Any = None) -> Iterator[None]:
    """Run searches and cross-validation on the workers of a Dask cluster.

    Inside of it, scikit-learn's tools and those of this package hand their fits to
    the cluster. It is joblib's "dask" backend but for one thing: data that all fits
    share are sent to every worker, once, where joblib sends them to one of them, with
    which they would be lost. If a worker dies, others make its fits again, and the
    results are the same.

    Images in a memory map or in files are not sent at all if they go through
    `~skvision.datasets.as_Xy`: each worker opens them, at the same place. With
    ``checkpoint=directory``, on a file system that all workers see, a fit that was
    lost goes on from its last epoch, and a search that is run again does not repeat
    what had been done.

    Parameters
    ----------
    client : dask.distributed.Client, default=None
        None takes the one that is current.

    Yields
    ------
    None
        Until its end, joblib hands fits to the cluster.

    Raises
    ------
    ImportError
        If Dask is not installed.
    TypeError
        If `client` is none.
    ValueError
        If there is no client, or a worker has several threads: torch's generators of
        random numbers belong to a process, so that fits in it are made one after the
        other.

    See Also
    --------
    joblib.parallel_config : Other backends.

    Notes
    -----
    With a GPU for each worker, each needs to see its own alone, by the environment
    variable ``CUDA_VISIBLE_DEVICES``, as ``dask_cuda.LocalCUDACluster`` sets it; a fit
    with ``device="auto"`` then takes it. If all workers are gone, joblib waits for new
    ones.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvision import ImageClassifier
    >>> from skvision.model_selection import on_dask
    >>> def search_on_cluster(X, y):
    ...     from dask.distributed import Client
    ...     with Client(n_workers=2, threads_per_worker=1) as client, on_dask(client):
    ...         grid = {"lr": [1e-3, 1e-2]}
    ...         return GridSearchCV(ImageClassifier(), grid).fit(X, y)
    """
    try:
        from dask.distributed import Client, get_client
        from dask.sizeof import sizeof
    except ImportError:
        raise ImportError("on_dask needs Dask: pip install 'skvision[dask]'.") from None
    client = get_client() if client is None else client
    if not isinstance(client, Client):
        raise TypeError(f"on_dask expects a dask.distributed.Client; got {client!r}.")
    threads = client.nthreads()
    if max(threads.values(), default=1) > 1:
        raise ValueError(
            f"The cluster has workers with {max(threads.values())} threads, in which "
            "fits would wait for each other: they share torch's random numbers. Start "
            "them with threads_per_worker=1."
        )
    sizeof.register(ImageSequence, _size)
    joblib.register_parallel_backend(_BACKEND, _make_backend)
    with parallel_config(_BACKEND, client=client):
        yield


def _make_backend(client: Any = None, **params: Any) -> Any:
    """Return joblib's backend for a cluster, whose data go to all workers."""
    from dask.sizeof import sizeof

    class Everywhere:
        """A client that scatters to all workers what is too large for each task."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        async def scatter(self, data: Any, **options: Any) -> Any:
            if sizeof(data) <= _BYTES_PER_TASK:
                return data
            return await client.scatter(data, broadcast=True, **options)

    backend = dask_backend()(client=client, **params)
    backend.client = Everywhere()
    return backend


def _size(images: ImageSequence) -> int:
    """Return how many bytes the pickle of images has, about."""
    array = getattr(images.reader, "array", None)
    if array is None or reference_to(array) is not None:
        return 0
    return array.nbytes
