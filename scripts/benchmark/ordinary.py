"""The ordinary way, which is what kdbench is measured against.

A `DataLoader` over PIL images with transforms for each image, float32, and a teacher that runs on every batch.
The worker processes of a `DataLoader` were slower than none on two cores, so it has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kdbench.data.splits import Split
from kdbench.data.torchvision_import import torchvision

MEAN, DEVIATION = 0.1307, 0.3081  # as tutorials on MNIST write them


class Images(Dataset):
    """What `torchvision.datasets.MNIST` does: a tensor row becomes a PIL image, which a transform makes a tensor."""

    def __init__(self, split: Split, shift: int) -> None:
        made = torchvision.transforms
        moved = [made.RandomCrop(28, padding=shift)] if shift else []
        self.transform = made.Compose([*moved, made.ToTensor(), made.Normalize((MEAN,), (DEVIATION,))])
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.split.images[index, 0].numpy(), mode="L")
        return self.transform(image), int(self.split.labels[index])


class Ordinary:
    """Trains `student` by Adam, on the labels or under a teacher (Hinton et al. 2015); one call is one epoch."""

    def __init__(self, student: nn.Module, teacher: nn.Module | None, train: Split, val: Split, shift: int) -> None:
        self.student = student
        self.teacher = teacher.eval() if teacher else None
        self.train = DataLoader(Images(train, shift), batch_size=128, shuffle=True)
        self.val = DataLoader(Images(val, 0), batch_size=500)
        self.optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)

    def __call__(self) -> float:
        """Train for one epoch and return the accuracy on the validation split."""
        self.student.train()
        for images, labels in self.train:
            logits = self.student(images)
            loss = F.cross_entropy(logits, labels)
            if self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher(images)
                soft = F.kl_div(F.log_softmax(logits / 2, 1), F.softmax(taught / 2, 1), reduction="batchmean")
                loss = 0.1 * loss + 0.9 * 4 * soft
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return accuracy(self.student, self.val)


@torch.no_grad()
def accuracy(network: nn.Module, images: DataLoader) -> float:
    """Return the share of images that `network` gets right."""
    network.eval()
    right = sum(int((network(batch).argmax(1) == labels).sum()) for batch, labels in images)
    return right / len(images.dataset)  # type: ignore[arg-type]


class Tutorial(nn.Sequential):
    """The network of PyTorch's own MNIST example: two convolutions, 1,199,882 weights."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(9216, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )


def tutorial(train: Split, test: Split, seed: int, epochs: int = 14) -> Iterator[float]:
    """Train `Tutorial` as the example does (Adadelta, batches of 64), yielding test accuracy after each epoch."""
    torch.manual_seed(seed)
    network = Tutorial()
    batches = DataLoader(Images(train, 0), batch_size=64, shuffle=True)
    held_out = DataLoader(Images(test, 0), batch_size=1000)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(epochs):
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            F.nll_loss(F.log_softmax(network(images), dim=1), labels).backward()
            optimizer.step()
        schedule.step()
        yield accuracy(network, held_out)
