import pytest

from ava_tools.support.parallel import in_parallel


def test_every_item_gets_its_result():
    done = dict(in_parallel(lambda x: x * x, range(20), 3, "squares"))
    assert done == {x: x * x for x in range(20)}


def test_an_error_ends_the_work():
    with pytest.raises(ZeroDivisionError):
        dict(in_parallel(lambda x: 1 // x, [1, 0, 2], 1, "inverses"))
