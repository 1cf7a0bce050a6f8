import pytest
import torch
import torch.nn.functional as F

from mtclip_edge.train.projector import ProjectorShape, SharedSpace, prefix
from mtclip_edge.train.settings import TrainConfig


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
    words_width = 0
    aligned = True


class Unaligned:
    film_width, text_width = 40, 24
    words_width = 0
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
def test_residual_where_towers_are_aligned_and_the_width_is_kept(
    backbone: type, dim: int | None, width: int, residual: bool
) -> None:
    from mtclip_edge.train.training import shape_for

    shape = shape_for(TrainConfig(dim=dim), backbone())
    assert (shape.dim, shape.residual) == (width, residual)


def test_a_prefix_is_a_unit_vector_of_the_first_numbers() -> None:
    embedding = torch.nn.functional.normalize(
        torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    cut = prefix(embedding, 4)
    assert torch.allclose(cut.norm(dim=1), torch.ones(5))
    assert torch.allclose(cut, embedding[:, :4] / embedding[:, :4].norm(dim=1, keepdim=True))
    assert prefix(embedding, 16) is embedding


def test_turning_the_space_changes_no_cosine_and_no_logit() -> None:
    torch.manual_seed(0)
    space = SharedSpace(ProjectorShape(20, 12, 16, 8, residual=False, dropout=0.0), 10.0).eval()
    films, texts = torch.randn(50, 20), torch.randn(30, 12)
    before = space.embed_films(films), space.embed_texts(texts)
    logit = space.abnormal_logit(before[0])
    space.turn(torch.cat(before).detach())
    after = space.embed_films(films), space.embed_texts(texts)
    torch.testing.assert_close(after[0] @ after[1].T, before[0] @ before[1].T, atol=1e-5, rtol=0)
    torch.testing.assert_close(space.abnormal_logit(after[0]), logit, atol=1e-5, rtol=0)
    assert not torch.allclose(after[0], before[0], atol=0.01)
    energy = torch.cat(after).square().sum(dim=0)
    assert (energy[:-1] >= energy[1:] - 1e-5).all()  # what tells most comes first
    again = space.axes.clone()
    space.turn(torch.cat(after).detach())
    torch.testing.assert_close(space.axes, again, atol=1e-4, rtol=0)  # turned already
