"""Work through a list in threads, with a progress line. Decoding video leaves Python's lock."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    title: str,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) in the order in which they are done. An error ends the work."""
    pool = ThreadPoolExecutor(workers)
    try:
        item_of = {pool.submit(function, item): item for item in items}
        for future in tqdm(as_completed(item_of), title, len(items), mininterval=2, disable=None):
            yield item_of[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
