"""Rows of a whole study, made up but shaped like a real one."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.conftest import make_row

from kdbench.results.row import Row

SIZES = {
    "mlp_simple": 204_000,
    "mlp_medium": 942_000,
    "mlp_deep": 5_980_000,
    "cnn_simple": 34_200,
    "cnn_medium": 101_000,
    "cnn_deep": 1_160_000,
    "resnet_simple": 303_000,
    "resnet_medium": 700_000,
    "resnet_deep": 1_090_000,
}
ERRORS = {"mlp": 0.02, "cnn": 0.006, "resnet": 0.004}
TEACHERS = {"mlp_deep": "resnet_deep", "cnn_deep": "resnet_deep"}


def study(seeds: int = 1, dataset: str = "mnist") -> list[Row]:
    """36 variants x seeds."""
    chance = random.Random(0)
    rows = []
    for model, bytes_ in SIZES.items():
        family, _, grade = model.partition("_")
        teacher = TEACHERS.get(model, f"{family}_deep")
        for method in ("baseline", "quantize", "prune", "distill"):
            for seed in range(seeds):
                error = (
                    ERRORS[family] * {"simple": 1.6, "medium": 1.2, "deep": 1.0}[grade] * chance.uniform(0.85, 1.2)
                )
                shrink = 3.5 if method == "quantize" else 1
                rows.append(
                    make_row(
                        dataset=dataset,
                        model=model,
                        compress=method,
                        seed=seed,
                        teacher=teacher if method == "distill" else None,
                        teacher_seed=seed if method == "distill" else None,
                        teacher_accuracy=1 - ERRORS[family] if method == "distill" else None,
                        teacher_size_bytes=SIZES[teacher] if method == "distill" else None,
                        accuracy=1 - error,
                        errors=round(error * 10_000),
                        agreement=None if method == "baseline" else 0.99,
                        size_bytes=round(bytes_ / shrink),
                        size_gzip_bytes=round(bytes_ / shrink * (0.2 if method == "prune" else 0.9)),
                        packed_bytes=round(bytes_ / shrink * (0.15 if method == "prune" else 0.85)),
                        payload_bytes=round(bytes_ / shrink * (0.15 if method == "prune" else 0.85)),
                        baseline_size_bytes=bytes_,
                        latency_ms=bytes_ / 3e6 * (2 if method == "quantize" else 1),
                        network_hash=f"net-{model}",
                        teacher_hash=f"net-{teacher}" if method == "distill" else None,
                        variant_hash=f"{model}-{method}",
                        config_hash=f"{model}-{method}-{seed}",
                    )
                )
    return rows


def series(seeds: int = 1) -> list[Row]:
    """Rows over temperatures, sizes of transfer sets and generations."""
    chance = random.Random(1)
    rows = [row for row in study(seeds) if row.model in ("mlp_simple", "cnn_simple") and row.compress == "baseline"]

    def add(model: str, method: str, teacher: str, settings: str, error: float, **changes: object) -> None:
        for seed in range(seeds):
            drawn = error * chance.uniform(0.93, 1.07)
            rows.append(
                make_row(
                    **{
                        "model": model,
                        "compress": method,
                        "teacher": teacher,
                        "teacher_settings": f"teacher.model={teacher}",
                        "settings": settings,
                        "seed": seed,
                        "accuracy": 1 - drawn,
                        "agreement": 1 - 1.1 * drawn,
                        "teacher_accuracy": 0.995,
                        "network_hash": f"net-{model}",
                        "variant_hash": f"{model}-{method}-{settings}",
                        "config_hash": f"{model}-{method}-{settings}-{seed}",
                        **changes,
                    }
                )
            )

    for model, best in (("mlp_simple", 3), ("cnn_simple", 8)):
        for temperature in (1, 2.5, 4, 8, 20):
            error = 0.012 + 0.003 * abs(temperature - best) ** 0.5
            add(model, "distill", "cnn_deep", f"temperature={temperature} alpha=0", error, transfer_images=55_000)
    for kind, slope in (("munge", 0.25), ("noise", 0.03), ("resampled", 0.1)):
        for images in (1_000, 10_000, 100_000, 400_000):
            words = f"temperature=2 alpha=0 transfer={{'data':'{kind}','images':{images}}}"
            # Who has more images sees each less often, so it is another recipe, and counts as another network.
            own = {"recipe": f"train.epochs={4_000_000 // images} train.lr=0.006", "network_hash": f"net-{images}"}
            add("mlp_simple", "distill", "cnn_deep", words, 0.2 * images**-slope, transfer_images=images, **own)
    for generation in (1, 2, 3):
        words, own = f"generations={generation} temperature=1", {"code_hash": "c0de0001", "transfer_images": 55_000}
        add("cnn_simple", "born_again", "cnn_simple", words, 0.009 - 0.0005 * generation, **own)
    return rows


PRUNED = {  # how much harm each does at one sparsity, and whether it can be left without fine-tuning
    "prune": (1.0, True),
    "prune_layerwise": (1.2, True),
    "prune_random": (3.0, True),
    "prune_gradual": (0.8, False),
    "prune_lottery": (0.9, False),
    "prune_taylor": (0.85, False),
}
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
OTHERS = ("smooth_labels", "mixup", "attention", "similarity", "relational", "mutual", "ensemble")


def compressed(seeds: int = 1, models: Sequence[str] = tuple(SIZES)) -> list[Row]:
    """Rows of about twenty methods, those of pruning and quantization over what they are set to."""
    chance = random.Random(2)
    rows = []

    def add(model: str, method: str, settings: str, harm: float, bytes_: float, packed: float, macs: float) -> None:
        family, _, grade = model.partition("_")
        for seed in range(seeds):
            error = ERRORS[family] * {"simple": 1.6, "medium": 1.2, "deep": 1.0}[grade]
            error = min(error * (1 + harm) * chance.uniform(0.93, 1.07), 0.9)
            variant = f"{model}-{method}-{settings}".replace("=", "-").replace(" ", "-").rstrip("-")
            rows.append(
                make_row(
                    model=model,
                    compress=method,
                    settings=settings,
                    seed=seed,
                    accuracy=1 - error,
                    errors=round(error * 10_000),
                    macs=round(macs),
                    size_bytes=round(bytes_),
                    size_gzip_bytes=round(1.08 * packed),
                    packed_bytes=round(packed),
                    baseline_size_bytes=SIZES[model],
                    latency_ms=SIZES[model] / 3e6 * (macs / SIZES[model] / 10) ** 0.8 * chance.uniform(0.97, 1.03),
                    network_hash=f"net-{model}",
                    variant_hash=variant,
                    config_hash=f"{variant}-{seed}",
                )
            )

    for model in models:
        dense, macs = SIZES[model], 10 * SIZES[model]
        add(model, "baseline", "", 0, dense, 0.85 * dense, macs)
        for method in OTHERS:
            add(model, method, "weight=1", chance.uniform(-0.2, 0.3), dense, 0.85 * dense, macs)
        for method, (harm, bare) in PRUNED.items():
            for sparsity in SPARSITIES:
                words, left = f"sparsity={sparsity}", 1 - sparsity
                add(model, method, f"{words} finetune_lr_scale=1", harm * 0.02 / left, dense, dense * left, macs)
                if bare:
                    add(
                        model,
                        method,
                        f"{words} finetune_epochs=0 finetune_lr_scale=1",
                        harm * 0.1 / left**1.7,
                        dense,
                        dense * left,
                        macs,
                    )
        for bits in (8, 4, 3, 2):
            share = bits / 32
            add(model, "quantize_weights", f"bits={bits}", 4 / 2**bits, share * dense, 0.9 * share * dense, macs)
            words = f"bits={bits} images=500 learned=False finetune_lr_scale=0.1"
            add(model, "quantize_aware", words, 1 / 2**bits, share * dense, 0.9 * share * dense, macs / 2)
            words = f"clusters={2**bits}"
            add(model, "cluster", words, 3 / 2**bits, share * dense, 0.8 * share * dense, macs)
        add(model, "half", "", 0.001, dense / 2, 0.45 * dense, macs)
        add(model, "quantize", "", 0.02, dense / 3.5, dense / 4, 2 * macs)
        add(model, "quantize_static", "images=500 weight_bits=7", 0.05, dense / 3.5, dense / 4.5, macs / 2)
        for share in (0.75, 0.5, 0.25, 0.1):
            kept = share * dense
            words = f"macs={share} multiple=1 finetune_lr_scale=1"
            add(model, "prune_structured", words, 0.1 / share, kept, 0.85 * kept, share * macs)
            words = f"macs={share} multiple=1 finetune_epochs=0 finetune_lr_scale=1"
            add(model, "prune_structured", words, 1 / share**1.5, kept, 0.85 * kept, share * macs)
            add(model, "shrink", f"keep={share}", 0.15 / share, kept, 0.85 * kept, 0.9 * share * macs)
    return rows
