"""Row and column matrices against torchvision's crop and resize, flips, and direct Gaussian sums."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional

from likewise.views.resampling import blur_matrix, resample, resize_matrix


def _resized(image, box, size, flip=False):
    top, left, height, width = box
    no, yes = torch.tensor([False]), torch.tensor([flip])
    rows = resize_matrix(torch.tensor([top]), torch.tensor([height]), image.shape[1], size, no)
    columns = resize_matrix(torch.tensor([left]), torch.tensor([width]), image.shape[2], size, yes)
    return resample(image[None], rows, columns, torch.float32)[0]


def _random_boxes(count, height, width):
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        tall = int(torch.randint(1, height + 1, (), generator=generator))
        wide = int(torch.randint(1, width + 1, (), generator=generator))
        top = int(torch.randint(0, height - tall + 1, (), generator=generator))
        left = int(torch.randint(0, width - wide + 1, (), generator=generator))
        yield top, left, tall, wide


@pytest.mark.parametrize("shape", [(32, 32), (40, 23), (97, 64)], ids=str)
@pytest.mark.parametrize("size", [8, 24, 32, 61, 96])
def test_is_crop_and_antialiased_resize(generator, shape, size):
    image = torch.rand(3, *shape, generator=generator)
    for box in [(0, 0, *shape), *_random_boxes(20, *shape)]:
        expected = functional.resized_crop(image, *box, size=[size, size], antialias=True)
        torch.testing.assert_close(_resized(image, box, size), expected, rtol=0, atol=1e-4, msg=str(box))


def test_flip_is_that_of_the_result(generator):
    image = torch.rand(3, 20, 30, generator=generator)
    for box in _random_boxes(10, 20, 30):
        expected = _resized(image, box, 12).flip(2)
        torch.testing.assert_close(_resized(image, box, 12, flip=True), expected, rtol=0, atol=1e-6)


def test_whole_image_at_its_own_size_is_itself(generator):
    image = torch.rand(3, 16, 16, generator=generator)
    torch.testing.assert_close(_resized(image, (0, 0, 16, 16), 16), image)


@pytest.mark.parametrize("size", [1, 7, 32, 50])
def test_rows_are_weights_within_the_crop(size):
    start, length = torch.tensor([0, 5, 31, 3]), torch.tensor([32, 1, 1, 20])
    matrices = resize_matrix(start, length, 32, size, torch.tensor([False, True, False, True]))
    assert matrices.min() >= 0
    torch.testing.assert_close(matrices.sum(dim=2), torch.ones(4, size))
    for matrix, first, count in zip(matrices, start.tolist(), length.tolist(), strict=True):
        assert matrix[:, :first].eq(0).all()
        assert matrix[:, first + count :].eq(0).all()


def _naive_blur(line, sigma):
    result = []
    for i in range(len(line)):
        weights = [math.exp(-((i - j) ** 2) / (2 * sigma**2)) for j in range(len(line))]
        result.append(sum(w * value for w, value in zip(weights, line.tolist(), strict=True)) / sum(weights))
    return torch.tensor(result)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_blur_is_the_gaussian_sum(generator, sigma):
    line = torch.rand(25, generator=generator)
    matrix = blur_matrix(torch.tensor([sigma]), 25)[0]
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(25))
    torch.testing.assert_close(matrix @ line, _naive_blur(line, sigma), rtol=1e-4, atol=1e-5)


def test_blur_is_torchvisions_away_from_the_border(generator):
    image = torch.rand(3, 32, 32, generator=generator)
    matrix = blur_matrix(torch.tensor([1.3]), 32)
    blurred = resample(image[None], matrix, matrix, torch.float32)[0]
    expected = functional.gaussian_blur(image, kernel_size=[13, 13], sigma=[1.3, 1.3])
    torch.testing.assert_close(blurred[:, 7:-7, 7:-7], expected[:, 7:-7, 7:-7], rtol=0, atol=1e-4)


def test_no_blur_is_the_identity():
    matrices = blur_matrix(torch.tensor([0.0, 1.0]), 9)
    assert torch.equal(matrices[0], torch.eye(9))
    assert not torch.equal(matrices[1], torch.eye(9))


def test_each_image_has_its_own_matrices(generator):
    images = torch.randint(0, 256, (3, 1, 8, 8), generator=generator, dtype=torch.uint8)
    rows, columns = torch.rand(3, 5, 8, generator=generator), torch.rand(3, 6, 8, generator=generator)
    expected = torch.einsum("bhy,bcyx,bwx->bchw", rows, images.float(), columns)
    torch.testing.assert_close(resample(images, rows, columns, torch.float32), expected)
