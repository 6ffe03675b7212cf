"""What the tests of the datacage share."""

import pytest

from enclave_host.cage import Cage, NoTier, tiers


@pytest.fixture(scope="module", params=tiers.TIERS)
def cage(request):
    try:
        return Cage.probe(only=request.param)
    except NoTier as error:
        pytest.skip(str(error))
