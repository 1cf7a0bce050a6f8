import pytest
import torch
import torch.nn.functional as F

from mtclip_edge.settings import TrainConfig
from mtclip_edge.train.projector import ProjectorShape, SharedSpace


def test_a_residual_projector_starts_as_the_identity() -> None:
    space = SharedSpace(ProjectorShape(16, 16, 8, 16, residual=True, dropout=0.5), 14.0).eval()
    x = torch.randn(5, 16)
    assert torch.equal(space.film(x), x)
    assert torch.equal(space.embed_texts(x), F.normalize(x, dim=-1))
    assert space.scale.item() == pytest.approx(14.0)


def test_a_plain_projector_changes_the_width() -> None:
    space = SharedSpace(ProjectorShape(20, 12, 8, 6, residual=False, dropout=0.0), 14.0)
    film, text = space.embed_films(torch.randn(4, 20)), space.embed_texts(torch.randn(4, 12))
    assert film.shape == text.shape == (4, 6)
    torch.testing.assert_close(film.norm(dim=-1), torch.ones(4))


def test_the_temperature_is_clamped_as_in_clip() -> None:
    space = SharedSpace(ProjectorShape(4, 4, 4, 4, residual=True, dropout=0.0), 14.0)
    with torch.no_grad():
        space.log_scale.fill_(9.0)
    assert space.scale.item() == 100.0


class Aligned:
    film_width = text_width = 32
    aligned = True


class Unaligned:
    film_width, text_width = 40, 24
    aligned = False


@pytest.mark.parametrize(
    ("backbone", "dim", "width", "residual"),
    [
        (Aligned, None, 32, True),
        (Aligned, 32, 32, True),
        (Aligned, 16, 16, False),
        (Unaligned, None, 256, False),
        (Unaligned, 40, 40, False),
    ],
)
def test_residual_where_towers_are_aligned_and_the_width_is_kept(backbone: type, dim: int | None, width: int, residual: bool) -> None:
    from mtclip_edge.train.fit import shape_for

    shape = shape_for(TrainConfig(dim=dim), backbone())
    assert (shape.dim, shape.residual) == (width, residual)
