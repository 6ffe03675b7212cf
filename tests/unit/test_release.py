"""A node knows the measurement of the enclave software that was installed with it."""

import enclave_host.measure
from node import release


def test_node_and_enclave_measure_the_same():
    assert release.software() == enclave_host.measure.software()


def test_the_version_is_the_distributions():
    assert release.version().count(".") == 2
