"""Folders of drawn digits: written whole, and once, by whichever process comes first."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import index
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

SPLITS = {'training': 1, 'validation': 2}  # numbers in the seed; 0 is that of splitting glyphs
TUNING = 10  # is added to these numbers for a dataset of recipes, so that no picture is the same
VERSION = 1  # raise it when the pixels change, so that no folder of earlier ones is reused
TASK = 'world'  # the key in meta.json, as 0.1 wrote it, whose folders are used on


def write_once(root: str | Path, settings: dict, fill: Callable[[Path], None]) -> Path:
    """Fills a folder completely or not at all, and once, however many processes ask for it.

    Args:
        root: The folder to make; hidden files beside it, ``.<root>.ssn_mm*``, are used too.
        settings: What the content follows from, of JSON's types; kept in ``meta.json``.
        fill: Writes the content into the empty folder it is given.

    Returns:
        ``root`` as a Path.

    Raises:
        ValueError: ``root`` was filled with other settings, or holds other files.
        OSError: ``root`` cannot be written.
    """
    place = Path(root).resolve()  # through a link, or the rename would hit the link
    if _is_written(place, settings):  # needs no lock: the folder appears complete
        return Path(root)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f'.{place.name}.ssn_mm.lock')):
            if _is_written(place, settings):
                return Path(root)
            partial = place.with_name(f'.{place.name}.ssn_mm.tmp')
            shutil.rmtree(partial, ignore_errors=True)  # a writer was killed
            partial.mkdir()
            try:
                fill(partial)
                text = json.dumps(settings, indent=2) + '\n'
                (partial / 'meta.json').write_bytes(text.encode())
                with suppress(FileNotFoundError):  # Windows moves nothing onto an empty folder
                    place.rmdir()
                partial.replace(place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        message = f'cannot write the digits dataset to {str(root)!r} ({error}); name another folder'
        raise OSError(error.errno, message) from error
    return Path(root)


def draws(
    seed: int, num_train: int, num_val: int, progress: bool, tuning: bool = False
) -> Iterator[tuple[str, int, np.random.Generator]]:
    """Yields what each picture, or video, is drawn from, and shows a progress bar.

    Args:
        seed: The dataset's seed.
        num_train: Number of training pictures.
        num_val: Number of validation pictures.
        progress: Whether to show the bar, on stderr.
        tuning: Whether the dataset is for finding recipes, see :func:`.drawing.split_glyphs`.

    Yields:
        The split, 'training' or 'validation'; the number in it; and a random generator of its own.
    """
    jobs = [('training', i) for i in range(num_train)] + [('validation', i) for i in range(num_val)]
    console = Console(stderr=True)
    for split, i in track(jobs, 'Drawing digits', console=console, disable=not progress):
        yield split, i, np.random.default_rng([seed, SPLITS[split] + tuning * TUNING, i])


def checked(name: str, value: int, least: int, most: int | None = None) -> int:
    """An argument as an int within bounds.

    Raises:
        ValueError: It is no integer, below ``least`` or above ``most``.
    """
    try:
        value = index(value)
    except TypeError:
        raise ValueError(f'{name} must be an integer, got {value!r}') from None
    if value < least or (most is not None and value > most):
        bound = f'at least {least}' if most is None else f'in {least}..{most}'
        raise ValueError(f'{name} must be {bound}, got {value}')
    return value


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an image (H, W, 3), BGR, or (H, W), uint8."""
    params = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix.lower() in ('.jpg', '.jpeg') else []
    _, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), params)
    path.write_bytes(data.tobytes())  # raises on a full disk, where cv2.imwrite returns False


def _is_written(place: Path, settings: dict) -> bool:
    """Whether a folder was filled with these settings; ValueError if it holds something else."""
    # existence first: what exists is complete, so a rename by another process cannot get between
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return False
    try:
        found = json.loads((place / 'meta.json').read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{str(place)!r} exists and is no complete digits dataset ({error}): '
            'delete it if it was one, or name another folder'
        ) from error
    if found != settings:
        raise ValueError(
            f'{str(place)!r} was written with {found}, but now asked for is {settings}: '
            'delete the folder or name another one'
        )
    return True
