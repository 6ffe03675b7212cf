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
        self._watch_road()

    def _watch_road(self) -> None:
        road = self.node.pipeline
        numbers = {
            "village_quarantine": ("Records that came too early", lambda: len(road.quarantine)),
            "village_quarantine_dropped": (
                "Records that had to go for want of room",
                lambda: road.quarantine.dropped,
            ),
            "village_refused": ("Refusals, those not kept too", road.refusing.counted.total),
            "village_barred": (
                "Keys barred for equivocation",
                lambda: sum(len(room.forks) for room in self.node.world.rooms.values()),
            ),
        }
        for name, (words, count) in numbers.items():
            Gauge(name, words, registry=self.registry).set_function(count)

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
