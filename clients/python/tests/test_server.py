"""The client against real servers and their faults: killed, drained, cut off at every byte. What reached the
cluster is what counts."""

import random
import signal
import threading
import time
import unittest
from typing import Any, Callable, Dict, Iterator, List, Set

from usher_client import Client, Event, RefusedError, connect

from .scripted import BreakingLine, until
from .serving import Folder, Server, Sink, audit_of
from .test_client import QUICK

DISCARD = '[cluster.main]\ndriver = "discard"\n'


class ServerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Folder()
        self.addCleanup(self.folder.remove)

    def serve(self, config: str = DISCARD, **options: Any) -> Server:
        server = Server(self.folder, config, **options)
        self.addCleanup(server.end, signal.SIGKILL)
        return server

    def sink(self) -> Sink:
        sink = Sink()
        self.addCleanup(sink.close)
        return sink

    def config_of(self, sink: Sink) -> str:
        # Failover within a second or so: what is tested waits for it.
        return (
            "lease = 0.5\naccept_lease = 2\n[segments]\nage = 0.03\nseal_interval = 0.005\n"
            f'[cluster.sink]\ndriver = "http"\nurl = "{sink.url}"\nsettle = 0.5\ntimeout = 5\nbatch = 16\n'
        )

    def settled_audit(self, jobs: int) -> Dict[str, Any]:
        audit: Dict[str, Any] = {}
        end = time.monotonic() + 90
        while time.monotonic() < end:
            audit = audit_of(self.folder)
            if audit["waiting"] == 0 and audit["inDoubt"] == 0 and audit["submitted"] >= jobs:
                return audit
        raise AssertionError(f"not all is submitted: {audit}")

    def assert_once(self, sink: Sink, ids: Set[str], context: str) -> None:
        audit = self.settled_audit(len(ids))
        self.assertEqual({job_id: count for job_id, count in sink.taken.items() if count != 1}, {}, context)
        self.assertEqual(set(sink.taken), ids, context)
        self.assertTrue(audit["balanced"], audit)
        self.assertEqual((audit["submitted"], audit["dead"]), (len(ids), 0), context)


class AcceptedTest(ServerTest):
    def test_takes_jobs_and_says_what_is_wrong_with_others(self) -> None:
        server = self.serve('[limits]\njob_bytes = 2048\nframe_bytes = 4096\ncredit_bytes = 4108\n' + DISCARD)
        with connect(server.address) as client:
            accepted = client.send({"executable": "/bin/echo", "arguments": ["hello", "\U0001f600"]})
            self.assertEqual((accepted.id, accepted.instance), (client.id_of(1), server.instance))
            with self.assertRaises(RefusedError) as caught:
                client.send({"executable": "/bin/true", "cluster": "elsewhere"})
            error = caught.exception
            self.assertEqual((error.code, error.details["field"], error.job_id), ("cluster_unknown", "cluster", client.id_of(2)))
            for size, code in ((3000, "job_too_large"), (5000, "job_too_large")):
                with self.assertRaises(RefusedError) as caught:
                    client.send({"executable": "/bin/true", "arguments": ["x" * size]})
                self.assertEqual(caught.exception.code, code)
            # Far more than the credit, which is a single frame here.
            result = client.send_all({"executable": "/bin/true", "arguments": [str(i)]} for i in range(3000))
            self.assertEqual((result.accepted, result.failed), (3000, 0))
        self.assertEqual(server.end(), 0)
        self.assertEqual(audit_of(self.folder)["accepted"], 3001)


class CutTest(ServerTest):
    def test_at_every_byte_loses_and_doubles_nothing(self) -> None:
        sink = self.sink()
        server = self.serve(self.config_of(sink))
        line = BreakingLine(server.address)
        self.addCleanup(line.close)
        jobs = [{"executable": "/bin/true", "arguments": [str(i)]} for i in range(2)]
        ids: Set[str] = set()
        # Each position with a client of its own: the session's bytes begin anew, and its second connection finds a whole line.
        for direction in (0, 1):
            position = 0
            while True:
                position += 1
                line.limits = [(position, None) if direction == 0 else (None, position)]
                broken = line.broken
                client = Client(line.address, producer=77, first_sequence=len(ids) + 1, **QUICK)
                ids |= {client.id_of(len(ids) + 1), client.id_of(len(ids) + 2)}
                try:
                    result = client.send_all(jobs)
                    self.assertEqual((result.accepted, result.failed), (2, 0), f"direction {direction}, byte {position}")
                    connections = client.stats.connections
                finally:
                    client.destroy()
                line.limits = []
                if line.broken == broken and connections == 1:
                    break
                self.assertLess(position, 2000)
            # At the least what goes over the line: preamble, HELLO and the jobs; preamble, WELCOME and ACK.
            self.assertGreater(position, (8 + 25 + 2 * 23, 8 + 72 + 24)[direction])
        self.assert_once(sink, ids, f"{len(ids)} jobs, {line.joined} connections")


class KilledTest(ServerTest):
    def test_at_any_moment_loses_and_doubles_nothing(self) -> None:
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        sink = self.sink()
        config = self.config_of(sink)
        server = self.serve(config)
        client = Client(server.address, timeout_s=120, **{**QUICK, "backoff_most_s": 0.1})
        self.addCleanup(client.destroy)
        running = True
        sent: List[int] = []
        acked: List[int] = []

        def jobs() -> Iterator[Dict[str, Any]]:
            while running:
                for _ in range(chance.randrange(40)):
                    sent.append(1)
                    yield {"executable": "/bin/true", "arguments": [str(len(sent))]}
                time.sleep(chance.random() * 0.02)

        results: List[Any] = []
        thread = threading.Thread(
            target=lambda: results.append(
                client.send_all(jobs(), on_accepted=lambda first, count: acked.extend(range(first, first + count)))
            )
        )
        thread.start()
        kills = 5
        for _ in range(kills):
            # Not before it has accepted something: then at any moment.
            accepted = client.stats.accepted_jobs
            until("it accepts", lambda accepted=accepted: client.stats.accepted_jobs > accepted, 60)  # type: ignore[misc]
            time.sleep(chance.random() * 0.3)
            server.end(signal.SIGKILL)
            server = self.serve(config, listen=server.address)
        running = False
        thread.join(120)
        context = f"seed {seed}, {len(sent)} jobs, {client.stats}"
        self.assertEqual((results[0].accepted, results[0].failures), (len(sent), []), context)
        self.assertEqual(sorted(acked), list(range(1, len(sent) + 1)), context)
        self.assertGreater(client.stats.connections, kills, context)
        self.assert_once(sink, {client.id_of(sequence) for sequence in acked}, context)


class TwoHostsTest(ServerTest):
    def test_share_the_jobs_of_a_producer_whose_host_drains_or_dies(self) -> None:
        sink = self.sink()
        config = self.config_of(sink)
        servers = {}
        for name in ("a", "b"):
            server = self.serve(f'host = "{name}"\n' + config)
            servers[server.address] = server
        events: List[Event] = []
        client = Client(list(servers), on_event=events.append, **QUICK)
        self.addCleanup(client.destroy)
        accepted: List[int] = []

        sent: List[int] = []
        sending = threading.Event()

        def jobs() -> Iterator[Dict[str, Any]]:
            while sending.is_set():
                for _ in range(10):
                    sent.append(1)
                    yield {"executable": "/bin/true", "arguments": [str(len(sent))]}
                time.sleep(0.002)

        def send() -> None:
            before = len(sent)
            result = client.send_all(jobs(), on_accepted=lambda first, jobs: accepted.extend(range(first, first + jobs)))
            self.assertEqual((result.accepted, result.failures), (len(sent) - before, []))

        def while_sending(fault: Callable[[], Any]) -> None:
            sending.set()
            count = client.stats.accepted_jobs
            thread = threading.Thread(target=send)
            thread.start()
            until("it sends", lambda: client.stats.accepted_jobs > count + 50)
            fault()
            count = client.stats.accepted_jobs
            until("it goes on", lambda: client.stats.accepted_jobs > count + 50)
            sending.clear()
            thread.join(60)

        until("it is connected", lambda: client.connected_to is not None)
        first = client.connected_to
        assert first is not None
        old = servers.pop(first.address)
        while_sending(lambda: self.assertEqual(old.end(signal.SIGTERM), 0))
        second = client.connected_to
        assert second is not None
        self.assertIn(second.address, servers)
        said = [event for event in events if event.kind == "goodbye"]
        self.assertEqual([(event.address, list(event.addresses)) for event in said], [(first.address, list(servers))])
        # It dies; another has come in the place of the first.
        back = self.serve('host = "c"\n' + config, listen=first.address)
        while_sending(lambda: servers[second.address].end(signal.SIGKILL))
        now = client.connected_to
        assert now is not None
        self.assertEqual(now.address, back.address)
        self.assertEqual(sorted(accepted), list(range(1, len(sent) + 1)))
        self.assert_once(sink, {client.id_of(sequence) for sequence in accepted}, str(client.stats))


if __name__ == "__main__":
    unittest.main()
