"""Searches an operation for every edge of a small network on scikit-learn's 8x8 digits.

SparsestMax mixes five operations an edge and ends with one of them, while weights and logits are
trained together: no second search phase, no penalty in the loss. It takes less than two minutes.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

from ssn_mm import sparsestmax

CHANNELS = 12
OPERATIONS = {
    'zero': lambda: nn.Threshold(float('inf'), 0.0),
    'identity': nn.Identity,
    'conv 3x3': lambda: block(3),
    'conv 5x5': lambda: block(5),
    'max pool': lambda: nn.MaxPool2d(3, 1, 1),
}


def block(size: int) -> nn.Module:
    """A convolution with batch norm."""
    conv = nn.Conv2d(CHANNELS, CHANNELS, size, padding='same', bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(CHANNELS))


class Edge(nn.Module):
    """The ratio-weighted sum of all operations; of a one-hot row the selected one alone."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make() for make in OPERATIONS.values())
        self.logits = nn.Parameter(torch.ones(len(OPERATIONS)))
        self.radius = 0.0

    def ratios(self) -> torch.Tensor:
        return sparsestmax(self.logits, self.radius)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        used = [(p, f) for p, f in zip(self.ratios(), self.operations, strict=True) if p > 0]
        return sum(p * operation(x) for p, operation in used)


class Network(nn.Module):
    """A stem, a cell in which every node sums edges from all nodes before it, and a classifier."""

    def __init__(self, nodes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        pairs = [(a, b) for b in range(1, nodes + 1) for a in range(b)]
        self.edges = nn.ModuleDict({f'{a}-{b}': Edge() for a, b in pairs})
        self.head, self.nodes = nn.Linear(CHANNELS, 10), nodes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.stem(x)]
        for b in range(1, self.nodes + 1):
            maps.append(sum(self.edges[f'{a}-{b}'](maps[a]) for a in range(b)))
        return self.head(maps[-1].relu().mean((2, 3)))


def main() -> None:
    """Trains, prints the accuracy after each tenth of the training, and what was selected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pixels, labels = (torch.tensor(t) for t in load_digits(return_X_y=True))
    pixels = (pixels.float().view(-1, 1, 8, 8) - 8) / 8
    order = torch.randperm(len(labels))
    train, test = order[:1200], order[1200:]
    network = Network()
    logits = [edge.logits for edge in network.edges.values()]
    weights = [p for name, p in network.named_parameters() if not name.endswith('logits')]
    optimizer = torch.optim.Adam([dict(params=weights, lr=3e-3), dict(params=logits, lr=1e-2)])
    steps = args.epochs * (len(train) // 60)
    for step in range(steps):
        batch = train[torch.randint(len(train), (60,))]
        for edge in network.edges.values():
            edge.radius = step / (steps - 1)  # one-hot from 0.894 on, for five operations
        loss = nn.functional.cross_entropy(network.train()(pixels[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % (steps // 10) == 0:
            with torch.no_grad():
                right = (network.eval()(pixels[test]).argmax(1) == labels[test]).float().mean()
                left = sum(int((edge.ratios() > 0).sum()) for edge in network.edges.values())
            print(f'radius {edge.radius:.2f}  operations {left:2d}  test accuracy {right:.3f}')
    for name, edge in network.edges.items():
        print(f'edge {name}: {list(OPERATIONS)[int(edge.ratios().argmax())]}')


if __name__ == '__main__':
    main()
