"""Numbers for Prometheus, counted from what happens in the node."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from node.node import Node


class Metrics:
    """Counters of records and refusals, and gauges of peers and topics, of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.registry = CollectorRegistry()
        self.records = Counter(
            "village_records", "Records taken into the journal", ["kind"], registry=self.registry
        )
        self.refusals = Counter(
            "village_refusals", "What was refused", ["code"], registry=self.registry
        )
        peers = Gauge("village_peers", "Peers that answered last time", registry=self.registry)
        peers.set_function(lambda: len(node.spread.reached()))
        topics = Gauge("village_topics", "Topics followed", registry=self.registry)
        topics.set_function(lambda: len(node.world.rooms))

    async def run(self) -> None:
        """Count until cancelled."""
        async for happening in self.node.happenings.follow(0):
            if happening.event == "refused":
                self.refusals.labels(str(happening.details.get("code", ""))).inc()
            elif "author" in happening.details:
                self.records.labels(happening.event).inc()

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)
