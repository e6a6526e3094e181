"""Write the files that later versions have to read, into a folder named by the version.

python tests/data/make.py, once for each release
"""

import json
from pathlib import Path

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import load_digits_images
from skvision.metrics import top_k_scorer
from skvision.preprocessing import RandomShift


def main():
    X, y = load_digits_images(return_X_y=True)
    X, y = X[:200], y[:200]
    common = {"module__hidden": 3, "max_epochs": 2, "random_state": 0, "device": "cpu"}
    nets = {
        "classifier": ImageClassifier(
            "mlp",
            augment=[RandomShift(1)],
            class_weight="balanced",
            early_stopping=True,
            epoch_scoring=[top_k_scorer(3)],
            **common,
        ).fit(X, [f"digit {label}" for label in y]),
        "regressor": ImageRegressor("mlp", optimizer="sgd", **common).fit(X, y / 9),
        "autoencoder": ImageAutoencoder("dense_autoencoder", **common).fit(X),
    }
    folder = Path(__file__).parent / skvision.__version__
    folder.mkdir(exist_ok=True)
    expected = {}
    for name, net in nets.items():
        net.save(folder / f"{name}.skv")
        method = {"classifier": "predict_proba", "autoencoder": "transform"}
        outputs = getattr(net, method.get(name, "predict"))(X[:5])
        expected[name] = outputs.astype(float).tolist()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
