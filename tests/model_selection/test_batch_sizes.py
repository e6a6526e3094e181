"""Networks that do something else in batches of another size than was tried first."""

import pytest
import torch
from torch import nn

from skvision import ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection._proof import NotStackable, find_engine
from skvision.model_selection._stack import Stack


class Small(nn.Module):
    n_steps = 0

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.out = nn.Linear(144, n_outputs)

    def features(self, x):
        return torch.relu(self.conv(x))

    def forward(self, x):
        return self.out(self.features(x).flatten(1))


class CountsLastBatches(Small):
    def features(self, x):
        self.n_steps += self.training and len(x) == 15
        return super().features(x) * (1 + 0.1 * self.n_steps)


class ClampedInLastBatches(Small):
    def features(self, x):
        if len(x) == 15:
            self.conv.weight.data.clamp_(-0.1, 0.1)
        return super().features(x)


class NoiseInLastBatches(Small):
    def features(self, x):
        return super().features(x) * (torch.rand(()) if len(x) == 15 else 1)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (CountsLastBatches, "attribute n_steps of CountsLastBatches (changes|comes)"),
        (ClampedInLastBatches, "changes the weight conv.weight"),
        (NoiseInLastBatches, "random numbers of torch"),
    ],
)
def test_what_a_network_does_in_batches_of_another_size(build, reason, small_digits):
    X, y = (part[:47] for part in small_digits)
    net = ImageClassifier(build, batch_size=16, random_state=0)
    members = [TrainingRun.of(net.__sklearn_clone__(), X, y) for _ in range(2)]
    with pytest.raises(NotStackable, match=reason):
        Stack(members, find_engine(members)).train_epoch()
