"""Train the network and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import image_and_table
from torch import nn

EPOCHS = 15
BATCH = 64
LEARNING_RATE = 3e-3


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    inputs, classes = split()[0]
    images, tables, labels = torch.tensor(inputs["image"]), torch.tensor(inputs["table"]), torch.tensor(classes)
    network = image_and_table()
    steps = EPOCHS * -(-len(labels) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
            logits = network(images[chosen], tables[chosen])
            loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


if __name__ == "__main__":
    main(train, __doc__)
