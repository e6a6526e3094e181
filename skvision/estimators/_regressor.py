"""Regression on images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from skorch import NeuralNetRegressor
from skorch.utils import to_tensor
from torch import nn

from skvision._compat import StrOptions, fit_context
from skvision._warnings import warn
from skvision.estimators._checks import check_not_masked
from skvision.estimators._net import ImageNet
from skvision.estimators._parameters import RoutingMixin
from skvision.estimators._targets import (
    check_domain,
    check_target_scaling,
    normalizes_target,
)
from skvision.estimators._turns import looking
from skvision.images._names import warn_if_codes
from skvision.training._batches import BatchLoader
from skvision.training._losses import NONLINEARITIES, regression_response
from skvision.training._targets import TargetScaler

__all__ = ["ImageRegressor"]


class ImageRegressor(ImageNet, NeuralNetRegressor, RoutingMixin):
    """Predict continuous targets from images by a neural network.

    A `skorch.NeuralNetRegressor` that keeps scikit-learn's contract, see
    `ImageClassifier`.

    Parameters
    ----------
    module : str, class, callable or torch.nn.Module, default="auto"
        The network: a subclass of `torch.nn.Module` or a function that returns one, a
        name ("mlp", "convnet", "lenet" or a torchvision model such as "resnet18"), or
        an instance, which is copied at each fit, its weights being the initial ones.
        "auto" takes `~skvision.networks.ConvNet` for images and
        `~skvision.networks.MLP` for flat rows. If the signature names
        ``image_shape`` (channels, height, width) or ``n_outputs``, they are given as
        inferred from the data; flat rows count as images of shape (1, 1, n_features).
        Further arguments are set by ``module__name``.
    criterion : str, class or torch.nn.Module, default="mse"
        The loss: "mse", "l1", "smooth_l1", "cross_entropy", or a torch class. For
        `torch.nn.GaussianNLLLoss` the network returns a tuple of means and variances.
    optimizer : str or class, default="adam"
        "sgd", "adam", "adamw", "rmsprop", in any capitals, or a torch class; its
        arguments are set by ``optimizer__name``. The first three make their steps in
        one operation, unless ``optimizer__fused=False``.
    lr : float, default=1e-3
        Learning rate.
    max_epochs : int, default=10
        Number of passes over the training rows at each call of ``fit`` and
        ``partial_fit``; with 0, ``fit`` builds the network and trains nothing.
    batch_size : int, default=128
        Rows in a training batch; -1 takes all. A single row left over for the last
        batch joins the batch before it. Evaluation takes 64 to 1024 rows at once, by
        the size of the network's layers, unless ``iterator_valid__batch_size`` is set.
    normalize : "channel", None or (mean, std), default="channel"
        "channel" subtracts the mean and divides by the standard deviation of each
        channel, learnt from the training rows alone; flat rows that are no images
        have one pair for all values. A pretrained estimator and torchvision's
        ``module__weights`` bring their own. A pair gives the two, as a number or as
        one number per channel. None leaves values as they are.
    normalize_target : "auto" or bool, default="auto"
        Whether the loss compares targets and predictions after the mean of the
        training targets is subtracted, and divided by their standard deviation, each
        column for itself. "auto" does so for squared, absolute, smooth-l1 and Huber
        losses, and not for other ones. Predictions are on the scale of y either way.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of four axes have their channels. "auto" takes the axis of length
        1, 3 or 4, and on a tie the first, with a warning.
    image_shape : tuple of int, default=None
        (channels, height, width) of flat rows that are images, so that a scaler of a
        pipeline can stand before a convolutional network. None infers it.
    augment : transform or list of transforms, default=None
        Applied to training batches only, see `skvision.preprocessing`. What is not one
        of those is called image by image. As a value of scikit-learn's searches, one
        of torchvision's stands in a ``v2.Compose([...])``, or it cannot be cloned.
    early_stopping : bool, default=False
        Whether to hold out rows, to stop when their loss has not improved for
        `n_iter_no_change` epochs, and to go back to the best weights. No rows are held
        out otherwise.
    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` holds out.
    n_iter_no_change : int, default=5
        Epochs without improvement before `early_stopping` ends the training.
    epoch_scoring : str, callable, list or dict of them, default=()
        scikit-learn scorers whose values are recorded in `history` after each epoch,
        as ``train_name`` and, where there are validation rows, ``valid_name``. Those
        of the training rows are made from the outputs of the epoch's own batches.
    pretrained : estimator, module, dict, str or os.PathLike, default=None
        Initial weights: of a fitted estimator, a network, a ``state_dict``, or a file
        of one (as `torch.save` writes it, or safetensors). They fit the whole network
        or its encoder; else an error lists the names that do not. Clones share it.
    pretrained_mix : float, default=1.0
        Weights begin as ``mix * pretrained + (1 - mix) * initial``.
    pretrained_lr_mult : float, default=1.0
        What the learning rate is multiplied by for weights that came from `pretrained`
        or from torchvision's ``module__weights``.
    freeze : str or list of str, default=None
        What is not trained: "encoder" or "backbone" (all before the head), or patterns
        of parameter names such as ``"layer1.*"``. Frozen batch normalisation stays in
        evaluation mode. To train the head first and then all, call ``fit``,
        ``set_params(freeze=None, lr=...)`` and ``partial_fit``.
    checkpoint : str or os.PathLike, default=None
        A directory. ``fit`` writes its state there at the end of each epoch, into a
        file of its own for these parameters and data, and goes on from that file where
        it is there already: an interrupted fit ends with the same weights as an
        undisturbed one, and a finished one is not trained again, with
        ``random_state=None`` neither. A larger `max_epochs` goes on, unless a schedule
        is made for a number of epochs. Data are told apart by all their values, code by
        all that it uses, and what it reads from files by the network it builds of it.
    checkpoint_steps : int, default=None
        Steps of training after which a checkpoint is written within an epoch, too.
    dtype : {"float32", "float64"}, default="float32"
        Of network, data and loss.
    device : str or torch.device, default="auto"
        "auto" takes the GPU if torch finds one, else the CPU.
    amp : bool, default=False
        Whether to run the network in bfloat16 where that is safe (autocast).
    compile : bool, default=False
        Whether to compile the network with `torch.compile`; arguments are set by
        ``compile__name``.
    memory_format : {"auto", "channels_last", "contiguous"}, default="auto"
        How the values of images lie in memory. Convolutions are faster with all
        channels of a pixel side by side, and hand it on. "auto" does so on the CPU, and
        on a GPU with `amp`, if the network has convolutions and can take it.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, order of rows, dropout, augmentation and hold-out.
        An int makes ``fit`` reproducible to the last bit on the CPU, at an equal number
        of threads. The global generators are left as they are found, so that fits in
        several threads of one process wait for each other.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    verbose : int, default=0
        Whether to print a line per epoch.
    callbacks : list of skorch callbacks or "disable", default=None
        In addition to the default ones. Shallow copies of them run, see `callbacks_`;
        a list, a file or a study that a callback holds is shared with them.
    train_split : callable or False, default=None
        As in skorch, for example ``predefined_split(dataset)``, ``ValidSplit(5)`` or a
        function that makes two data sets of one and y; what it holds out is encoded
        and normalised like the training rows. None and False hold out nothing.
    iterator_train, iterator_valid : class, default=BatchLoader
        Make the batches. A `torch.utils.data.DataLoader` works as well, with its own
        defaults.
    predict_nonlinearity : callable, str or None, default="auto"
        Turns outputs, on the scale of y where that is normalised, into predictions:
        "exp", "sigmoid", "softmax", or a function of tensors. "auto" infers it from the
        criterion, so that predictions are on the scale of y: of rates for
        `torch.nn.PoissonNLLLoss`, whose networks return their logarithms. None leaves
        outputs as they are.
    **kwargs : dict
        Parameters ``prefix__name`` for the prefixes module, criterion, optimizer,
        iterator_train, iterator_valid, callbacks and compile.

    Attributes
    ----------
    n_outputs_ : int
        Number of outputs of the network.
    n_features_in_ : int
        Number of values in an image or row.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a frame.
    image_shape_ : tuple of int
        (channels, height, width).
    module_ : torch.nn.Module
        The trained network.
    network_shape_ : tuple of int
        (channels, height, width) of what `module_` gets: `image_shape_`, unless
        pretrained weights bring a size of their own.
    scaler_ : torch.nn.Module
        Brings pixels into the range and size that `module_` was trained on. Its
        ``target.mean`` and ``target.std`` are those of `normalize_target`.
    pixel_divisor_ : int
        What integers wider than uint8 are divided by: 255, 65535, or 1. It goes by the
        first training rows. uint8 is divided by 255, or by 1 where the others are.
    pixel_range_ : tuple of float
        The least and the greatest value of those rows, before any scaling.
    criterion_, optimizer_ : object
        The loss and the optimizer in their last state.
    callbacks_ : list of (str, callback)
        The callbacks that ran.
    history : skorch.history.History
        Losses, scores and durations of each epoch and batch. Losses are those of
        normalised targets, where they are: of squared errors, in units of the variance
        of y. Scores of `epoch_scoring` compare with y as it was given.
    best_epoch_ : int
        The epoch, counted from 1, whose weights the network has: the one with the
        least validation loss in the last call of ``fit`` or ``partial_fit``. Only where
        early stopping has put them back.
    device_ : torch.device
        Where the network is.

    See Also
    --------
    ImageClassifier : The same for labels; its notes hold here as well.

    Notes
    -----
    Targets of shape (n,) and (n, 1) have the same loss. What is learnt of them for
    `normalize_target` comes from the training rows of the first ``fit`` or
    ``partial_fit``, with their weights, and stays as it is while training goes on; a
    whole pretrained network brings its own, unless y is far from it. Arguments of the
    loss that are distances, such as ``criterion__delta`` of `torch.nn.HuberLoss`, are
    in standard deviations then. ``forward`` and callbacks get outputs on the scale of
    y.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision import ImageRegressor
    >>> from skvision.datasets import load_digits_images
    >>> X, _ = load_digits_images(return_X_y=True)
    >>> brightness = X.mean(axis=(1, 2)) / 255
    >>> net = ImageRegressor("mlp", max_epochs=20, random_state=0)
    >>> bool(net.fit(X, brightness).score(X, brightness) > 0.5)
    True
    """

    # Of an estimator that has been initialized, but never saw targets.
    _target_shape: tuple[int, ...] | None = None
    _target_dtype: Any = np.dtype(np.float64)

    _parameter_constraints: dict[str, Any] = {
        **ImageNet._parameter_constraints,
        "normalize_target": [StrOptions({"auto"}), "boolean"],
        "predict_nonlinearity": [
            StrOptions({"auto", *NONLINEARITIES}),
            callable,
            None,
        ],
    }

    def __init__(
        self,
        module="auto",
        *,
        criterion="mse",
        optimizer="adam",
        lr=1e-3,
        max_epochs=10,
        batch_size=128,
        normalize="channel",
        normalize_target="auto",
        channels="auto",
        image_shape=None,
        augment=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        epoch_scoring=(),
        pretrained=None,
        pretrained_mix=1.0,
        pretrained_lr_mult=1.0,
        freeze=None,
        checkpoint=None,
        checkpoint_steps=None,
        dtype="float32",
        device="auto",
        amp=False,
        compile=False,
        memory_format="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
        callbacks=None,
        train_split=None,
        iterator_train=BatchLoader,
        iterator_valid=BatchLoader,
        predict_nonlinearity="auto",
        **kwargs,
    ):
        self._store_params(locals())

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Build the network for these images and train it.

        Parameters
        ----------
        X : images
            An array or tensor of shape (n, H, W), (n, H, W, C), (n, C, H, W) or
            (n, n_features), a pandas frame of such rows, a data set, an
            `~skvision.datasets.ImageSequence` or ``SliceDataset``, or a list of
            images, of (image, label) pairs or of paths of image files. Integers
            are scaled to [0, 1], if they are from 0 to 255 or 65535 in the first
            call; floats are taken as they are, see `pixel_divisor_`. Photos keep their
            full bit depth, and are turned as their EXIF data say.
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.

        Returns
        -------
        self : ImageRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid; what was fitted before is kept.
        DivergedError
            If training diverges.
        """
        return self._fit(X, y, sample_weight, partial=False)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train ``max_epochs`` more, from where the network stands.

        Parameters
        ----------
        X : images as in ``fit``
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative.

        Returns
        -------
        self : ImageRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, partial=True)

    @looking
    def predict(self, X):
        """Return the targets that the network predicts.

        Parameters
        ----------
        X : images as in ``fit``

        Returns
        -------
        y : ndarray of shape (n,) or (n, k)
            In the shape that y had in ``fit``; float32 if y was, else float64. Without
            a fit, with weights of a file alone, (n,) where the network has one output.
        """
        outputs = self._raw_predict(X)
        outputs = outputs.astype(self._target_dtype, copy=False)
        shape = self._target_shape
        if shape is None:
            shape = outputs.shape[1:] if outputs[0].size > 1 else ()
        return outputs.reshape(len(outputs), *shape)

    @property
    def predict_proba(self):
        # skorch gives its regressors one, which makes scikit-learn take them for
        # classifiers here and there.
        raise AttributeError("ImageRegressor has no predict_proba.")

    def __setstate__(self, state):
        scaler = state.get("scaler_")
        if "n_outputs_" in state and not hasattr(scaler, "target"):
            # Written by a release that took targets as they are.
            n = state["n_outputs_"]
            scaler.target = TargetScaler([0.0] * n, [1.0] * n)
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # ------------------------------------------------------------------ hooks

    def _check_target(self, X, y):
        if y is None:
            warn_if_codes(X, self)
        y = self._given_or_carried(X, y)
        check_not_masked(y, "y")
        dtypes = [np.float64, np.float32]
        y = check_array(y, ensure_2d=False, dtype=dtypes, input_name="y")
        if y.ndim not in (1, 2):
            raise ValueError(
                f"Expected y of shape (n,) or (n, k); got shape {y.shape}."
            )
        return y

    def _encode_target(self, y, weight, *, reset, classes=None):
        shape = y.shape[1:]
        if reset or self._target_shape is None:
            self._set_targets(shape, y.dtype)
        elif shape != self._target_shape:
            raise ValueError(
                f"y has shape {y.shape}, but the targets of the first fit had "
                f"{self.n_outputs_} column(s), shape {('n', *self._target_shape)}."
            )
        # Two axes always: the difference of (b, 1) and (b,) would be (b, b).
        targets = np.array(y, order="C").reshape(len(y), self.n_outputs_)
        return torch.from_numpy(targets), weight

    def _assume_targets(self, n_outputs):
        shape = () if n_outputs == 1 else (n_outputs,)
        self._set_targets(shape, np.dtype(np.float64))

    def _set_targets(self, shape, dtype):
        self._target_shape, self._target_dtype = shape, dtype
        self.n_outputs_ = int(np.prod(shape))

    def _shown(self, batch):
        return batch[0], batch[1].reshape(len(batch[1]), *self._target_shape)

    def _take_over(self, *, own=False):
        super()._take_over(own=own)
        self.scaler_.target = TargetScaler()

    def _renew_parts(self, changed):
        super()._renew_parts(changed)
        if self.scaler_.target.changes and not normalizes_target(self):
            raise ValueError(
                f"criterion={self.criterion!r} wants y on its own scale, and cannot "
                "take effect on a training that goes on: the network has learnt "
                "normalised targets. Build a new one: call fit with warm_start=False."
            )

    def _prepare(self, *args):
        run = super()._prepare(*args)
        for part in run.split:
            if part is None:
                continue
            check_domain(self.criterion_, part.y)
            if not self._compared(part.y).isfinite().all():
                raise ValueError(
                    f"y contains a value too large for {self.dtype}: "
                    f"{part.y.abs().max():.4g}. Scale y, or set dtype='float64'."
                )
        return run

    def _fit_scaling(self, train, valid, *, anew):
        all_read = super()._fit_scaling(train, valid, anew=anew)
        check_target_scaling(self)
        target = self.scaler_.target
        if target.mean is None:
            self._learn_target_scale(train)
        elif not target.suits(train.y):
            warn(
                f"y goes from {train.y.min():.6g} to {train.y.max():.6g}, far from the "
                f"targets of the first fit, of mean {target.mean.tolist()} and "
                f"standard deviation {target.std.tolist()}, whose scale is kept while "
                "training goes on. Give y on that scale, or call fit with "
                "warm_start=False."
            )
        return all_read

    def _learn_target_scale(self, data):
        target, found = self.scaler_.target, None
        if not normalizes_target(self):
            found = np.zeros(self.n_outputs_), np.ones(self.n_outputs_)
        elif self._pretrained_names >= self.module_.state_dict().keys():
            # Its head gives what was on this scale.
            trained = getattr(getattr(self.pretrained, "scaler_", None), "target", None)
            known = trained is not None and trained.mean is not None
            if known and trained.suits(data.y):
                found = trained.mean, trained.std
        if found is not None:
            target.set_statistics(*found, device=self.device_)
            return
        weight = data.sample_weight
        weight = None if weight is None else weight.numpy()
        target.learn(data.y.numpy(), weight, device=self.device_)

    def _compared(self, y):
        """Return targets, or outputs on their scale, as the loss compares them."""
        return self.scaler_.target(y.to(self.device_)).to(self._dtype)

    def _finished(self, outputs):
        if isinstance(outputs, tuple):
            return self.scaler_.target.undo(outputs[0]), *outputs[1:]
        return self.scaler_.target.undo(outputs)

    def _response(self):
        return regression_response(self.criterion_)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        first, *others = y_pred if isinstance(y_pred, tuple) else (y_pred,)
        y_true = to_tensor(y_true, device=self.device_)
        pair = self._compared(first.reshape(y_true.shape)), self._compared(y_true)
        if not isinstance(self.criterion_, nn.GaussianNLLLoss):
            return self.criterion_(*pair)
        if not others:
            raise ValueError(
                "GaussianNLLLoss needs a network that returns a tuple of two tensors, "
                "means and variances."
            )
        return self.criterion_(*pair, others[0].reshape(y_true.shape))
