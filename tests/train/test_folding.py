"""BatchNorm in the convolution before it while a tower is trained: the same tower, before and after."""

import pytest
import timm
import torch
from torch import Tensor, nn

from mtclip_edge.train.fine_tuning import unfrozen
from mtclip_edge.train.folding import FoldedNorm, fold_norms

SIZE = 64


def tower(name: str = "tf_efficientnet_lite0") -> nn.Module:
    """A CNN whose norms have statistics and scales of their own."""
    torch.manual_seed(0)
    made = timm.create_model(name, num_classes=0, global_pool="avg").eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
            for value in (module.bias, module.running_mean):
                nn.init.uniform_(value, -0.3, 0.3)
    return made


@pytest.fixture
def films() -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
@torch.no_grad()
def test_every_norm_is_folded_and_the_features_stay(name: str, films: Tensor) -> None:
    plain, folded = tower(name), tower(name)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert len(fold_norms(folded, SIZE).pairs) == norms > 10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(films), plain(films), rtol=0, atol=1e-4 * float(plain(films).max()))


@torch.no_grad()
def test_what_was_trained_folded_stands_in_the_towers_own_layout(films: Tensor) -> None:
    plain, folded = tower(), tower()
    folding = fold_norms(folded, SIZE)
    for parameter in folded.parameters():
        parameter.add_(0.01 * torch.randn(parameter.shape))
    untrained = plain(films)
    plain.load_state_dict(folding.plain(folded.state_dict()))  # strict: no name more, none less
    torch.testing.assert_close(folded(films), plain(films), rtol=0, atol=1e-4 * float(plain(films).max()))
    assert float((plain(films) - untrained).abs().max()) > 0.01 * float(untrained.max())


def test_a_scale_that_is_zero_divides_nothing(films: Tensor) -> None:
    plain, folded = tower(), tower()
    for made in (plain, folded):
        nn.init.zeros_(made.get_submodule("blocks.2.0.bn2").weight)  # type: ignore[arg-type]
    folding = fold_norms(folded, SIZE)
    state = folding.plain(folded.state_dict())
    assert all(bool(value.isfinite().all()) for value in state.values())
    plain.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(plain(films), folded(films), rtol=0, atol=1e-4)


def test_what_is_frozen_stays_frozen() -> None:
    made = tower()
    unfrozen(made, "1")
    fold_norms(made, SIZE)
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert trained == {
        f"{place}.{name}"
        for place in ("blocks.6.0.conv_pw", "blocks.6.0.conv_dw", "blocks.6.0.conv_pwl", "conv_head")
        for name in ("weight", "bias")
    }


class SideBySide(nn.Module):
    """A convolution that serves a norm and something else besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=1.0)
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(x)
        return (self.norm(seen) + seen).mean(dim=(2, 3))


def test_a_tower_that_would_change_is_left_as_it_came(films: Tensor) -> None:
    made = SideBySide().eval()
    before = made.state_dict()
    assert not fold_norms(made, SIZE).pairs
    assert isinstance(made.norm, nn.BatchNorm2d) and not isinstance(made.norm, FoldedNorm)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
