"""
===================================
One fit by several processes or GPUs
===================================

Each process makes its part of every batch, and Accelerate takes the mean of their
gradients: all networks stay the same, and learn what one process would have learnt.

    pip install accelerate
    torchrun --nproc-per-node 2 examples/several_processes.py

takes two processes of this machine, one for each GPU where there are some. Networks
with batch normalisation see the statistics of a process's part alone.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description="One fit by several processes or GPUs.")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--output", type=Path, default=Path("results"), help="for the file")
options = parser.parse_args()

# %%
# A part of each batch
# --------------------
# All processes draw the same order, since they have the same ``random_state``.
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather
from skorch.callbacks import Callback

from skvision.training import BatchLoader

accelerator = Accelerator(cpu=not torch.cuda.is_available())


class PartLoader(BatchLoader):
    """Gives this process its part of each batch."""

    def __iter__(self):
        """Yield batches."""
        part, n_parts = accelerator.process_index, accelerator.num_processes
        for rows in self.sampler:
            # A batch with fewer rows than processes is read by all of them.
            own = rows[part::n_parts] if len(rows) >= n_parts else rows
            yield self.dataset[own]


# %%
# The mean of all gradients
# -------------------------
class MeanGradients(Callback):
    """Makes all processes take the same step, and keep the same statistics."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        """Put the mean over all processes in the place of gradients."""
        grads = [p.grad for _, p in named_parameters if p.grad is not None]
        # In one message, since many small ones take longer.
        flat = torch.cat([grad.flatten() for grad in grads])
        mean = accelerator.reduce(flat, reduction="mean")
        sizes = [grad.numel() for grad in grads]
        for grad, part in zip(grads, mean.split(sizes), strict=True):
            grad.copy_(part.view_as(grad))

    def on_epoch_end(self, net, **kwargs):
        """Take the buffers of the first process."""
        for buffer in net.module_.buffers():
            broadcast(buffer)


# %%
# Training
# --------
# The batch size is that of all processes together. Only the first one prints.
from sklearn.model_selection import train_test_split

from skvision import ImageClassifier, load
from skvision.datasets import load_digits_images

X, y = load_digits_images(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

net = ImageClassifier(
    "mlp",
    max_epochs=options.epochs,
    iterator_train=PartLoader,
    callbacks=[MeanGradients()],
    device=str(accelerator.device),
    verbose=int(accelerator.is_main_process),
    random_state=0,
)
net.fit(X_train, y_train)

# %%
# One network
# -----------
# The sum of its weights is the same everywhere; the first process saves it.
total = sum(p.detach().double().sum() for p in net.module_.parameters()).cpu()
totals = gather(total.float().to(accelerator.device).reshape(1)).tolist()

if accelerator.is_main_process:
    print(f"Processes: {accelerator.num_processes}; sums of their weights: {totals}")
    print(f"Test accuracy: {net.score(X_test, y_test):.4f}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "digits.skv"
    # What only this script has is no data.
    net.set_params(callbacks=None, iterator_train=BatchLoader).save(path)
    print(f"Saved: {path}, {load(path).score(X_test, y_test):.4f}")
# One that ended while another is still connected to it might be aborted.
accelerator.wait_for_everyone()
accelerator.end_training()
