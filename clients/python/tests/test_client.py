"""The client against hosts that do what a test tells them."""

import math
import struct
import threading
import time
import unittest
from concurrent.futures import Future
from typing import Any, Callable, Dict, Iterator, List

from usher_client import (
    Accepted, Client, DisconnectedError, Event, InDoubtError, RefusedError, UnsentError, UsherError, connect,
    producer_of_name,
)  # fmt: skip
from usher_client.frames import Error, Hello, Ping, encode_message, encode_preamble
from usher_client.options import OptionArguments, Options

from .scripted import WELCOME, Batch, Peer, Script, ScriptedServer, accept, error_bytes, nothing, until

JOB = {"executable": "/bin/true"}
QUICK: Dict[str, Any] = {"backoff_base_s": 0.001, "backoff_most_s": 0.01}


class ClientTest(unittest.TestCase):
    def serve(self, on_jobs: Script = accept, **options: Any) -> ScriptedServer:
        server = ScriptedServer(on_jobs, **options)
        self.addCleanup(server.close)
        return server

    def client(self, addresses: Any, **options: Any) -> Client:
        client = Client(addresses, **{**QUICK, **options})
        # Before the servers are closed.
        self.addCleanup(client.destroy)
        return client

    def error_of(self, call: Callable[[], Any], kind: "type[UsherError]" = UsherError) -> UsherError:
        with self.assertRaises(kind) as caught:
            call()
        return caught.exception


class SendingTest(ClientTest):
    def test_returns_the_id_and_who_accepted_it(self) -> None:
        server = self.serve()
        client = self.client(server.address)
        self.assertEqual(client.send(JOB), Accepted(client.id_of(1), "host1", "one"))
        hello = server.peers[0].messages[0]
        self.assertEqual(hello, Hello(client.producer, 0, ""))

    def test_puts_jobs_that_wait_together_into_one_frame_in_their_order(self) -> None:
        server = self.serve()
        server.welcome = WELCOME._replace(credit=0)
        client = self.client(server.address)
        futures = [client.begin_send(JOB) for _ in range(50)]
        until("it is connected", lambda: client.connected_to is not None)
        server.peers[0].credit(1 << 20)
        self.assertEqual([future.result().id for future in futures], [client.id_of(i) for i in range(1, 51)])
        self.assertEqual([batch.sequences for batch in server.batches], [list(range(1, 51))])

    def test_respects_batch_sizes_in_jobs_and_in_bytes(self) -> None:
        for options in ({"batch_jobs": 7}, {"batch_bytes": 7 * 23}):
            server = self.serve()
            client = self.client(server.address, **options)
            client.send_all(JOB for _ in range(100))
            self.assertEqual(sorted(server.sequences), list(range(1, 101)))
            self.assertEqual(max(len(batch.jobs) for batch in server.batches), 7, options)

    def test_lets_jobs_linger_and_drain_sends_them_at_once(self) -> None:
        server = self.serve()
        client = self.client(server.address, linger_s=60, batch_jobs=10)
        until("it is connected", lambda: client.connected_to is not None)
        # The first frame goes without lingering, with what came while there was no connection.
        client.drain()
        for _ in range(10):
            client.begin_send(JOB)
        until("a full frame has gone", lambda: len(server.sequences) == 10)
        for _ in range(3):
            client.begin_send(JOB)
        self.assertEqual(client.stats.held_jobs, 3)
        self.assertEqual(len(server.sequences), 10)
        client.drain()
        self.assertEqual(len(server.sequences), 13)
        lingering = self.client(server.address, linger_s=0.02)
        lingering.send(JOB)

    def test_derives_the_producer_from_a_name_and_wants_sequences_for_it(self) -> None:
        server = self.serve()
        client = self.client(server.address, client_id="nightly")
        self.assertEqual(client.producer, producer_of_name("nightly"))
        self.assertEqual(self.error_of(lambda: client.send(JOB)).code, "usage")
        self.assertEqual(client.send(JOB, sequence=7).id, client.id_of(7))
        self.assertEqual(client.send(JOB, sequence=2**64 - 1).id, client.id_of(2**64 - 1))
        self.assertEqual(self.error_of(lambda: client.send(JOB, sequence=2**64)).code, "usage")
        counting = self.client(server.address, client_id="counting", first_sequence=100)
        self.assertEqual([counting.send(JOB).id, counting.send(JOB).id], [counting.id_of(100), counting.id_of(101)])
        self.assertEqual(self.error_of(lambda: Client("a", client_id="x", producer=1)).code, "usage")

    def test_refuses_a_sequence_that_is_in_flight(self) -> None:
        server = self.serve(nothing)
        client = self.client(server.address)
        client.begin_send(JOB, sequence=5)
        self.assertEqual(self.error_of(lambda: client.begin_send(JOB, sequence=5)).details["id"], client.id_of(5))

    def test_names_the_job_it_refuses_itself_and_mints_no_id_for_it(self) -> None:
        client = self.client(self.serve().address)
        wrong = {"executable": "/bin/true", "arguments": ["\x00"]}
        self.assertNotIn("id", self.error_of(lambda: client.send(wrong), RefusedError).details)
        self.assertEqual(self.error_of(lambda: client.send(wrong, sequence=3)).job_id, client.id_of(3))
        self.assertEqual(client.send(JOB).id, client.id_of(1))

    def test_never_sends_without_credit_and_goes_on_when_it_is_granted(self) -> None:
        server = self.serve(lambda peer, batch: peer.ack(batch.sequences))
        server.welcome = WELCOME._replace(credit=2 * (12 + 23))
        client = self.client(server.address, batch_jobs=1)
        futures = [client.begin_send(JOB) for _ in range(5)]
        until("two are answered", lambda: futures[1].done())
        self.assertEqual(client.stats.credit, 0)
        self.assertEqual(len(server.sequences), 2)
        server.peers[0].credit(12 + 22)
        server.peers[0].credit(1)
        until("the third is answered", lambda: futures[2].done())
        self.assertEqual(len(server.sequences), 3)
        server.peers[0].credit(1 << 16)
        for future in futures:
            future.result(10)

    def test_settles_a_run_that_is_answered_in_pieces(self) -> None:
        def pieces(peer: Peer, batch: Batch) -> None:
            peer.credit(batch.frame_bytes)
            for sequence in batch.sequences[1::2]:
                peer.ack([sequence])
            peer.refuse("field_invalid", batch.sequences[0:1], 4, "0")
            # Answers to nobody, and again.
            peer.ack([9_999, *batch.sequences[1::2]])
            peer.ack(batch.sequences[2::2])

        client = self.client(self.serve(pieces).address)
        accepted: List[int] = []
        result = client.send_all(
            (JOB for _ in range(9)), on_accepted=lambda first, jobs: accepted.extend(range(first, first + jobs))
        )
        self.assertEqual((result.accepted + result.failed, len(accepted)), (9, result.accepted))
        self.assertEqual(len(set(accepted)), len(accepted))
        self.assertEqual(client.stats.held_jobs, 0)
        self.assertEqual(client.stats.held_bytes, 0)

    def test_takes_jobs_of_many_threads(self) -> None:
        server = self.serve()
        client = self.client(server.address)
        results: List[Any] = []
        threads = [
            threading.Thread(target=lambda: results.append(client.send_all(JOB for _ in range(500)))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([result.accepted for result in results], [500] * 8)
        self.assertEqual(sorted(server.sequences), list(range(1, 4001)))


class RefusalTest(ClientTest):
    def test_has_code_id_field_and_detail(self) -> None:
        def refuse(peer: Peer, batch: Batch) -> None:
            peer.refuse("cluster_unknown", batch.sequences, 1, "0")
            peer.credit(batch.frame_bytes)

        client = self.client(self.serve(refuse).address)
        error = self.error_of(lambda: client.send(JOB), RefusedError)
        self.assertEqual((error.code, error.retryable, error.job_id), ("cluster_unknown", False, client.id_of(1)))
        self.assertEqual((error.details["field"], error.details["detail"], error.details["host"]), ("cluster", "0", "host1"))
        self.assertEqual(client.stats.refused_jobs, 1)

    def test_is_retried_with_the_same_bytes_where_it_passes_with_time(self) -> None:
        for code in ("store_full", "store_failing"):
            refused: List[bytes] = []

            def first_refused(peer: Peer, batch: Batch, code: str = code, refused: List[bytes] = refused) -> None:
                peer.credit(batch.frame_bytes)
                if len(refused) < 4:
                    refused.extend(batch.jobs)
                    peer.refuse(code, batch.sequences)
                else:
                    peer.ack(batch.sequences)

            server = self.serve(first_refused)
            client = self.client(server.address)
            client.send(JOB)
            self.assertEqual(len({job for batch in server.batches for job in batch.jobs}), 1)
            self.assertEqual(client.stats.retried_jobs, 4)
            self.assertEqual(len(server.peers), 1)

    def test_leaves_a_job_in_doubt_that_may_have_reached_the_disk(self) -> None:
        def failing(peer: Peer, batch: Batch) -> None:
            peer.refuse("store_failing", batch.sequences)
            peer.credit(batch.frame_bytes)

        # The first pause outlasts the job.
        client = self.client(self.serve(failing).address, backoff_base_s=60, backoff_most_s=60, random=lambda: 0.99)
        error = self.error_of(lambda: client.send(JOB, timeout_s=0.1), InDoubtError)
        self.assertEqual(error.details["reason"], "refused")
        self.assertEqual(getattr(error.__cause__, "code", None), "store_failing")
        once = self.client(self.serve(failing).address, retry=False)
        self.assertEqual(self.error_of(lambda: once.send(JOB)).code, "in_doubt")

    def test_says_what_refused_it_where_no_host_kept_it(self) -> None:
        def leaving(peer: Peer, batch: Batch) -> None:
            peer.refuse("retired", batch.sequences)

        client = self.client(self.serve(leaving).address, retry=False)
        self.assertEqual(self.error_of(lambda: client.send(JOB), RefusedError).code, "retired")

    def test_with_a_number_from_the_future_is_final_and_says_so(self) -> None:
        def strange(peer: Peer, batch: Batch) -> None:
            from usher_client.frames import Refused, RefusedJob

            peer.send(Refused([RefusedJob(sequence, 999, 99, "") for sequence in batch.sequences]))

        client = self.client(self.serve(strange).address)
        error = self.error_of(lambda: client.send(JOB), RefusedError)
        self.assertEqual((error.code, error.details["wire"], error.details["field"]), ("job_malformed", 999, "field 99"))

    def test_concerns_only_the_job_that_no_frame_can_take(self) -> None:
        server = self.serve()
        server.welcome = WELCOME._replace(frame_bytes_max=500, frame_jobs_max=5)
        client = self.client(server.address)
        jobs = [{"executable": "/bin/true", "arguments": ["x" * (600 if i == 20 else 60)]} for i in range(40)]
        result = client.send_all(jobs)
        self.assertEqual((result.accepted, [error.code for error in result.failures]), (39, ["job_too_large"]))
        self.assertEqual(result.failures[0].job_id, client.id_of(21))
        self.assertLessEqual(max(batch.frame_bytes for batch in server.batches), 512)
        self.assertLessEqual(max(len(batch.jobs) for batch in server.batches), 5)
        self.assertEqual(sorted(server.sequences), [i for i in range(1, 41) if i != 21])


class TimeTest(ClientTest):
    def test_tells_a_job_that_was_never_sent_from_one_in_doubt(self) -> None:
        nobody = self.serve(welcome=None)
        never = self.error_of(lambda: self.client(nobody.address).send(JOB, timeout_s=0.1), UnsentError)
        self.assertEqual((never.code, never.retryable), ("timed_out", True))
        server = self.serve(nothing)
        client = self.client(server.address)
        until("it is connected", lambda: client.connected_to is not None)
        doubt = self.error_of(lambda: client.send(JOB, timeout_s=0.1), InDoubtError)
        self.assertEqual((doubt.code, doubt.details["reason"], doubt.job_id), ("in_doubt", "timed_out", client.id_of(1)))
        self.assertEqual(client.stats.in_doubt_jobs, 1)
        # The late answer is nobody's.
        server.peers[0].ack([1])
        server.on_jobs = accept
        self.assertEqual(client.send(JOB).id, client.id_of(2))
        self.assertEqual(client.stats.accepted_jobs, 1)

    def test_gives_each_job_its_own_time(self) -> None:
        server = self.serve(nothing)
        client = self.client(server.address)
        until("it is connected", lambda: client.connected_to is not None)
        patient = client.begin_send(JOB, timeout_s=math.inf)
        hasty = client.begin_send(JOB, timeout_s=0.05)
        self.assertEqual(getattr(hasty.exception(), "code", None), "in_doubt")
        self.assertFalse(patient.done())
        server.peers[0].ack([1])
        self.assertEqual(patient.result().id, client.id_of(1))

    def test_rejects_when_full_if_told_so_and_waits_for_room_otherwise(self) -> None:
        server = self.serve(nothing)
        client = self.client(server.address, held_jobs_max=2, when_full="reject")
        futures = [client.begin_send(JOB), client.begin_send(JOB)]
        self.assertEqual(self.error_of(lambda: client.begin_send(JOB), UnsentError).code, "queue_full")
        until("both are there", lambda: len(server.sequences) == 2)
        server.peers[0].ack([1, 2])
        for future in futures:
            future.result()
        waiting = self.client(server.address, held_jobs_max=1)
        first = waiting.begin_send(JOB)
        self.assertEqual(self.error_of(lambda: waiting.begin_send(JOB, timeout_s=0.05), UnsentError).code, "timed_out")
        until("it is there", lambda: len(server.peers) == 2 and len(server.peers[1].batches) == 1)
        server.on_jobs = accept
        threading.Timer(0.02, lambda: server.peers[1].ack([1])).start()
        self.assertEqual(waiting.send(JOB).id, waiting.id_of(2))
        first.result()

    def test_settles_everything_when_destroyed_and_takes_nothing_afterwards(self) -> None:
        server = self.serve(nothing)
        client = self.client(server.address, batch_jobs=1)
        server.welcome = WELCOME._replace(credit=12 + 22 + 1)
        until("it is connected", lambda: client.connected_to is not None)
        sent = client.begin_send(JOB)
        until("it is there", lambda: len(server.sequences) == 1)
        client._engine._connection.credit = 0  # type: ignore[union-attr]
        unsent = client.begin_send(JOB)
        client.destroy()
        self.assertIsInstance(sent.exception(0), InDoubtError)
        error = unsent.exception(0)
        self.assertEqual(getattr(error, "code", None), "closed")
        self.assertEqual(self.error_of(lambda: client.send(JOB), UnsentError).code, "closed")
        client.destroy()
        client.close()

    def test_close_waits_for_answers_says_goodbye_and_may_be_called_twice(self) -> None:
        def late(peer: Peer, batch: Batch) -> None:
            threading.Timer(0.05, lambda: accept(peer, batch)).start()

        server = self.serve(late)
        with Client(server.address) as client:
            future = client.begin_send(JOB)
        self.assertTrue(future.done())
        client.close()
        self.assertEqual([type(message).__name__ for message in server.peers[0].messages], ["Hello", "Jobs", "Goodbye"])
        self.assertEqual(len(server.peers), 1)

    def test_close_waits_a_second_for_a_host_that_does_not_say_goodbye(self) -> None:
        server = self.serve()
        client = self.client(server.address)
        client.send(JOB)
        server._received = lambda *args: None  # type: ignore[method-assign]
        begun = time.monotonic()
        client.close()
        self.assertLess(time.monotonic() - begun, 5)

    def test_leaves_no_thread_behind(self) -> None:
        before = threading.active_count()
        server = ScriptedServer()
        with Client(server.address) as client:
            client.send(JOB)
        nobody = Client("127.0.0.1:1", **QUICK)
        nobody.destroy()
        server.close()
        until("all have ended", lambda: threading.active_count() <= before)


class LostConnectionTest(ClientTest):
    def test_sends_everything_unanswered_again_with_the_same_ids_and_bytes(self) -> None:
        def cut(peer: Peer, batch: Batch) -> None:
            if len(server.peers) == 1:
                peer.ack(batch.sequences[1:2])
                peer.cut()
            else:
                accept(peer, batch)

        server = self.serve(cut)
        server.welcome = WELCOME._replace(credit=0)
        client = self.client(server.address)
        futures = [client.begin_send(JOB) for _ in range(4)]
        until("it is connected", lambda: client.connected_to is not None)
        server.welcome = WELCOME
        server.peers[0].credit(1 << 20)
        for future in futures:
            future.result(20)
        first, again = server.peers[0].batches, server.peers[1].batches
        self.assertEqual(first[0].sequences, [1, 2, 3, 4])
        self.assertEqual([sequence for batch in again for sequence in batch.sequences], [1, 3, 4])
        self.assertEqual([job for batch in again for job in batch.jobs], [first[0].jobs[i] for i in (0, 2, 3)])
        self.assertEqual(client.stats.resent_jobs, 3)
        self.assertEqual(client.stats.accepted_jobs, 4)

    def test_goes_to_another_address_and_has_one_connection_at_a_time(self) -> None:
        def cut(peer: Peer, batch: Batch) -> None:
            peer.cut()

        one, two = self.serve(), self.serve()
        client = self.client([one.address, two.address])
        for _ in range(6):
            where = client.send(JOB)
            self.assertEqual(where.host, "host1")
            connected = client.connected_to
            assert connected is not None
            server = one if connected.address == one.address else two
            server.on_jobs = cut
            client.send(JOB)
            server.on_jobs = accept
            other = two if server is one else one
            now = client.connected_to
            assert now is not None
            self.assertEqual(now.address, other.address)
            until("the lost one is closed", lambda server=server: all(peer.closed for peer in server.peers))  # type: ignore[misc]

    def test_keeps_a_job_in_doubt_when_a_later_host_refuses_it_for_now(self) -> None:
        def cut_then_refuse(peer: Peer, batch: Batch) -> None:
            if len(server.peers) == 1:
                peer.cut()
            else:
                peer.refuse("draining", batch.sequences)

        server = self.serve(cut_then_refuse)
        client = self.client(server.address, retry=False)
        self.assertEqual(self.error_of(lambda: client.send(JOB), InDoubtError).details["reason"], "refused")

    def test_gives_up_a_host_from_which_nothing_comes_back(self) -> None:
        silent = self.serve(nothing, on_ping=False)
        client = self.client(silent.address, silence_s=0.1)
        future = client.begin_send(JOB)
        until("it has left", lambda: len(silent.peers) > 1)
        self.assertFalse(future.done())
        silent.on_jobs = accept
        future.result(20)

    def test_pings_while_it_has_nothing_to_send_and_stays(self) -> None:
        server = self.serve()
        server.welcome = WELCOME._replace(idle_ms=60)
        client = self.client(server.address)
        until("it has pinged", lambda: sum(isinstance(each, Ping) for peer in server.peers for each in peer.messages) > 3)
        self.assertEqual(len(server.peers), 1)
        self.assertEqual(client.stats.connections, 1)

    def test_drops_a_connection_whose_bytes_are_not_the_protocol_but_keeps_what_came_before(self) -> None:
        def garbage(peer: Peer, batch: Batch) -> None:
            if len(server.peers) == 1:
                acknowledged = encode_message(accepted_of(batch.sequences[:1]))
                peer.sock.sendall(acknowledged + b"\xff" * 12)
            else:
                accept(peer, batch)

        server = self.serve(garbage)
        events: List[Event] = []
        client = self.client(server.address, on_event=events.append)
        result = client.send_all([JOB, JOB, JOB])
        self.assertEqual(result.accepted, 3)
        self.assertNotIn(1, server.peers[1].batches[0].sequences)
        ended = [event for event in events if event.kind == "disconnected"]
        self.assertEqual([event.error.code if event.error else "" for event in ended], ["frame_too_large"])

    def test_hears_answers_that_came_in_the_bytes_of_welcome(self) -> None:
        server = self.serve()
        server.welcome = WELCOME._replace(credit=0)
        from usher_client.frames import Credit

        server.behind_welcome = encode_message(Credit(1 << 20))
        self.client(server.address).send(JOB)

    def test_tells_of_connections_and_goes_on_when_the_listener_fails(self) -> None:
        kinds: List[str] = []

        def listen(event: Event) -> None:
            kinds.append(event.kind)
            raise RuntimeError("the listener's own")

        server = self.serve()
        with self.assertLogs("usher_client", "ERROR"), Client(server.address, on_event=listen) as client:
            client.send(JOB)
        self.assertEqual(kinds, ["connected", "goodbye", "disconnected"])


def accepted_of(sequences: List[int]) -> Any:
    from usher_client.frames import Ack

    return Ack([(sequence, 1) for sequence in sequences])


class GoodbyeTest(ClientTest):
    def test_finishes_what_is_outstanding_there_and_goes_to_the_address_it_names(self) -> None:
        new = self.serve()

        def leave(peer: Peer, batch: Batch) -> None:
            peer.goodbye([new.address, "no address at all"])
            accept(peer, batch)

        old = self.serve(leave)
        client = self.client(old.address)
        self.assertEqual(client.send(JOB).id, client.id_of(1))
        client.send(JOB)
        self.assertEqual((old.sequences, new.sequences), ([1], [2]))
        self.assertEqual(client.stats.resent_jobs, 0)

    def test_takes_what_crossed_with_it_elsewhere(self) -> None:
        new = self.serve()

        def refuse(peer: Peer, batch: Batch) -> None:
            peer.goodbye([new.address])
            peer.refuse("draining", batch.sequences)

        old = self.serve(refuse)
        result = self.client(old.address).send_all([JOB] * 5)
        self.assertEqual((result.accepted, sorted(set(new.sequences))), (5, [1, 2, 3, 4, 5]))

    def test_comes_back_to_the_only_host_there_is(self) -> None:
        def leave_once(peer: Peer, batch: Batch) -> None:
            if len(server.peers) == 1:
                peer.goodbye()
                peer.refuse("retired", batch.sequences)
            else:
                accept(peer, batch)

        server = self.serve(leave_once)
        self.assertEqual(self.client(server.address).send_all([JOB] * 3).accepted, 3)


class SendAllTest(ClientTest):
    def test_answers_each_job_of_a_long_iterable_with_bounded_memory(self) -> None:
        client = self.client(self.serve().address, held_jobs_max=50)
        most = 0

        def jobs() -> Iterator[Dict[str, Any]]:
            nonlocal most
            for i in range(3000):
                most = max(most, client.stats.held_jobs)
                yield {"executable": f"/bin/{i}"}

        self.assertEqual(client.send_all(jobs()).accepted, 3000)
        self.assertLessEqual(most, 50)

    def test_sends_what_it_has_while_the_iterable_waits(self) -> None:
        server = self.serve()
        client = self.client(server.address)

        def jobs() -> Iterator[Dict[str, Any]]:
            for i in range(1, 4):
                yield JOB
                until("it was sent without the next", lambda i=i: len(server.sequences) == i)  # type: ignore[misc]

        self.assertEqual(client.send_all(jobs()).accepted, 3)

    def test_takes_sequences_with_the_jobs_and_names_the_job_that_fails(self) -> None:
        client = self.client(self.serve().address, client_id="file")
        failed: List[UsherError] = []
        result = client.send_all([(1, JOB), (2, {"executable": ""}), (7, JOB)], on_failed=failed.append)
        self.assertEqual((result.accepted, result.failed, result.failures), (2, 1, []))
        self.assertEqual([(error.code, error.job_id) for error in failed], [("field_invalid", client.id_of(2))])

    def test_raises_what_the_iterable_raises_when_what_was_taken_has_its_answer(self) -> None:
        server = self.serve()
        client = self.client(server.address)

        def jobs() -> Iterator[Dict[str, Any]]:
            yield JOB
            raise ValueError("the iterable's own")

        with self.assertRaises(ValueError):
            client.send_all(jobs())
        self.assertEqual((server.sequences, client.stats.held_jobs), ([1], 0))

    def test_raises_what_a_callback_raises_when_each_job_has_its_answer(self) -> None:
        client = self.client(self.serve().address)

        def fail(first: int, jobs: int) -> None:
            raise ValueError("the callback's own")

        with self.assertRaises(ValueError):
            client.send_all([JOB] * 10, on_accepted=fail)
        self.assertEqual(client.stats.held_jobs, 0)
        self.assertEqual(client.stats.accepted_jobs + client.stats.in_doubt_jobs, client.stats.sent_jobs)

    def test_stops_at_an_interruption_and_holds_nothing_more(self) -> None:
        server = self.serve(nothing)
        client = self.client(server.address)

        def jobs() -> Iterator[Dict[str, Any]]:
            yield JOB
            until("it was sent", lambda: len(server.sequences) == 1)
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            client.send_all(jobs())
        self.assertEqual((client.stats.held_jobs, client.stats.in_doubt_jobs), (0, 1))

    def test_waits_for_room_without_end_but_gives_each_job_its_time(self) -> None:
        client = self.client(self.serve(nothing).address, held_jobs_max=2)
        until("it is connected", lambda: client.connected_to is not None)
        result = client.send_all([JOB] * 6, timeout_s=0.05)
        self.assertEqual([error.code for error in result.failures], ["in_doubt"] * 6)

    def test_says_closed_of_jobs_that_come_too_late(self) -> None:
        client = self.client(self.serve().address)

        def jobs() -> Iterator[Dict[str, Any]]:
            yield JOB
            client.close()
            yield JOB

        result = client.send_all(jobs())
        self.assertEqual((result.accepted, [error.code for error in result.failures]), (1, ["closed"]))


class ConnectTest(ClientTest):
    def test_returns_once_connected(self) -> None:
        with connect(self.serve().address) as client:
            self.assertIsNotNone(client.connected_to)

    def test_raises_when_no_host_is_there_in_time(self) -> None:
        error = self.error_of(lambda: connect("127.0.0.1:1", connect_within_s=0.1, **QUICK), DisconnectedError)
        self.assertEqual(error.code, "disconnected")
        self.assertIsInstance(error.__cause__, DisconnectedError)

    def test_raises_at_once_when_every_host_refuses_for_good_and_waits_while_one_may_come(self) -> None:
        old, older = self.serve(), self.serve()
        old.first = older.first = error_bytes("version_unsupported")
        error = self.error_of(lambda: connect([old.address, older.address], connect_within_s=60, **QUICK))
        self.assertEqual(error.code, "version_unsupported")
        late = self.serve()
        late.first = encode_preamble(0, 1) + encode_message(Error(8, "full"))

        def let_in() -> None:
            until("it was refused", lambda: len(late.peers) > 2)
            late.first = None

        thread = threading.Thread(target=let_in)
        thread.start()
        with connect([old.address, late.address], **QUICK) as client:
            self.assertEqual(getattr(client.connected_to, "address", ""), late.address)
        thread.join()

    def test_refuses_a_host_that_chose_a_version_it_was_not_offered(self) -> None:
        server = self.serve()
        server.first = encode_preamble(2, 2) + encode_message(WELCOME)
        error = self.error_of(lambda: connect(server.address, connect_within_s=60, **QUICK))
        self.assertEqual(error.code, "version_unsupported")

    def test_says_what_is_wrong_with_addresses_and_options(self) -> None:
        for addresses in ("", "a:0", "a:65536", "a b", "[::1"):
            self.assertEqual(self.error_of(lambda addresses=addresses: Client(addresses)).code, "usage", addresses)  # type: ignore[misc]
        for option in ({"batch_jobs": 0}, {"timeout_s": 0}, {"name": "x" * 256}, {"when_full": "panic"}, {"silence_s": math.nan}):
            self.assertEqual(self.error_of(lambda option=option: Client("a", **option)).code, "usage", option)  # type: ignore[misc]

    def test_has_the_same_options_by_type_as_by_value(self) -> None:
        self.assertEqual(OptionArguments.__annotations__.keys(), Options.__dataclass_fields__.keys())


class FutureTest(ClientTest):
    def test_can_not_be_cancelled_into_silence(self) -> None:
        future: "Future[Accepted]" = self.client(self.serve(nothing).address).begin_send(JOB)
        self.assertFalse(future.cancel())

    def test_calls_back_when_it_is_answered(self) -> None:
        called = threading.Event()
        self.client(self.serve().address).begin_send(JOB).add_done_callback(lambda future: called.set())
        self.assertTrue(called.wait(10))


class DoublesTest(ClientTest):
    def test_sends_a_job_twice_only_where_it_has_no_answer(self) -> None:
        """Over many cuts: what was acknowledged is never sent again, and each job has one answer."""
        acknowledged: "set[int]" = set()
        again: List[int] = []

        def unsteady(peer: Peer, batch: Batch) -> None:
            again.extend(sequence for sequence in batch.sequences if sequence in acknowledged)
            half = batch.sequences[: len(batch.sequences) // 2]
            if len(server.peers) % 2 == 1:
                peer.sock.sendall(encode_message(accepted_of(half)))
                # What the client is sure to have read before the line breaks.
                until("heard", lambda: client.stats.accepted_jobs >= len(acknowledged) + len(half))
                acknowledged.update(half)
                peer.cut()
            else:
                acknowledged.update(batch.sequences)
                accept(peer, batch)
                if len(acknowledged) < 600:
                    until("heard", lambda: client.stats.accepted_jobs >= len(acknowledged))
                    peer.cut()

        server = self.serve(unsteady)
        client = self.client(server.address, batch_jobs=20)
        counts: Dict[int, int] = {}

        def count(first: int, jobs: int) -> None:
            for sequence in range(first, first + jobs):
                counts[sequence] = counts.get(sequence, 0) + 1

        result = client.send_all((JOB for _ in range(1000)), on_accepted=count)
        self.assertEqual((result.accepted, result.failed), (1000, 0))
        self.assertEqual(counts, dict.fromkeys(range(1, 1001), 1))
        self.assertEqual(again, [])
        self.assertGreater(client.stats.connections, 4)
        self.assertEqual(struct.unpack_from("<Q", server.batches[0].jobs[0], 4)[0], 1)


if __name__ == "__main__":
    unittest.main()
