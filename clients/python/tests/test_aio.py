"""The client of programs with an event loop. What it shares with Client, the engine, is tested there."""

import asyncio
import unittest
from typing import Any, AsyncIterator, Dict, List

from usher_client import (
    Accepted, AsyncClient, DisconnectedError, Event, InDoubtError, RefusedError, UnsentError, UsherError, connect_async,
)  # fmt: skip

from .scripted import WELCOME, Batch, Peer, Script, ScriptedServer, accept, error_bytes, nothing
from .test_client import JOB, QUICK


async def until(what: str, condition: Any, within_s: float = 20) -> None:
    end = asyncio.get_running_loop().time() + within_s
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"{what}: not within {within_s} s")
        await asyncio.sleep(0.002)


class AsyncClientTest(unittest.IsolatedAsyncioTestCase):
    def serve(self, on_jobs: Script = accept, **options: Any) -> ScriptedServer:
        server = ScriptedServer(on_jobs, **options)
        self.addCleanup(server.close)
        return server

    async def client(self, addresses: Any, **options: Any) -> AsyncClient:
        client = AsyncClient(addresses, **{**QUICK, **options})
        self.addAsyncCleanup(client.destroy)
        return client

    async def test_answers_each_of_many_jobs_that_wait_together(self) -> None:
        server = self.serve()
        server.welcome = WELCOME._replace(credit=0)
        async with await connect_async(server.address) as client:
            sending = asyncio.gather(*(client.send(JOB) for _ in range(500)))
            await until("all are held", lambda: client.stats.held_jobs == 500)
            server.peers[0].credit(1 << 20)
            answers = await sending
            self.assertEqual(answers[0], Accepted(client.id_of(1), "host1", "one"))
            self.assertEqual([answer.id for answer in answers], [client.id_of(i) for i in range(1, 501)])
        self.assertEqual([len(batch.jobs) for batch in server.batches], [500])
        self.assertEqual(type(server.peers[0].messages[-1]).__name__, "Goodbye")

    async def test_raises_by_what_is_known(self) -> None:
        def refuse(peer: Peer, batch: Batch) -> None:
            peer.refuse("cluster_unknown", batch.sequences, 1)

        client = await self.client(self.serve(refuse).address)
        with self.assertRaises(RefusedError) as refused:
            await client.send(JOB)
        self.assertEqual(refused.exception.job_id, client.id_of(1))
        with self.assertRaises(RefusedError):
            await client.send({"executable": ""})
        silent = await self.client(self.serve(nothing).address)
        await until("it is connected", lambda: silent.connected_to is not None)
        with self.assertRaises(InDoubtError):
            await silent.send(JOB, timeout_s=0.05)
        unreached = await self.client("127.0.0.1:1")
        with self.assertRaises(UnsentError):
            await unreached.send(JOB, timeout_s=0.05)

    async def test_takes_plain_and_asynchronous_iterables_with_bounded_memory(self) -> None:
        client = await self.client(self.serve().address, held_jobs_max=50)
        most = 0

        async def jobs() -> AsyncIterator[Dict[str, Any]]:
            nonlocal most
            for i in range(2000):
                most = max(most, client.stats.held_jobs)
                yield {"executable": f"/bin/{i}"}

        accepted: List[int] = []
        result = await client.send_all(jobs(), on_accepted=lambda first, jobs: accepted.extend(range(first, first + jobs)))
        self.assertEqual((result.accepted, sorted(accepted)), (2000, list(range(1, 2001))))
        self.assertLessEqual(most, 50)
        self.assertEqual((await client.send_all([JOB] * 300)).accepted, 300)

    async def test_lets_the_loop_go_on_while_a_plain_iterable_is_sent(self) -> None:
        client = await self.client(self.serve().address)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await client.send_all(JOB for _ in range(5000))
        counting.cancel()
        self.assertGreater(turns, 20)

    async def test_raises_what_an_iterable_raises_when_what_was_taken_has_its_answer(self) -> None:
        server = self.serve()
        client = await self.client(server.address)

        async def jobs() -> AsyncIterator[Dict[str, Any]]:
            yield JOB
            raise ValueError("the iterable's own")

        with self.assertRaises(ValueError):
            await client.send_all(jobs())
        self.assertEqual((server.sequences, client.stats.held_jobs), ([1], 0))

    async def test_ends_the_waiting_for_what_is_cancelled(self) -> None:
        server = self.serve(nothing)
        server.welcome = WELCOME._replace(credit=0)
        client = await self.client(server.address)
        await until("it is connected", lambda: client.connected_to is not None)
        unsent = asyncio.ensure_future(client.send(JOB))
        await until("it is held", lambda: client.stats.held_jobs == 1)
        unsent.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await unsent
        self.assertEqual((client.stats.held_jobs, client.stats.in_doubt_jobs), (0, 0))
        server.peers[0].credit(1 << 20)
        for sending in (client.send(JOB), client.send_all([JOB] * 3)):
            task = asyncio.ensure_future(sending)
            await until("it was sent", lambda: client.stats.held_jobs > 0 and client.stats.sent_jobs % 3 == 1)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual(client.stats.held_jobs, 0)
        self.assertEqual(client.stats.in_doubt_jobs, 4)
        self.assertNotIn(1, server.sequences)

    async def test_waits_for_room_and_rejects_if_told_so(self) -> None:
        server = self.serve(nothing)
        client = await self.client(server.address, held_jobs_max=1)
        first = asyncio.ensure_future(client.send(JOB))
        await until("it was sent", lambda: len(server.sequences) == 1)
        with self.assertRaises(UnsentError) as late:
            await client.send(JOB, timeout_s=0.05)
        self.assertEqual(late.exception.code, "timed_out")
        second = asyncio.ensure_future(client.send(JOB))
        await asyncio.sleep(0)
        server.on_jobs = accept
        server.peers[0].ack([1])
        self.assertEqual([(await first).id, (await second).id], [client.id_of(1), client.id_of(2)])
        full = await self.client(self.serve(nothing).address, held_jobs_max=1, when_full="reject")
        holding = asyncio.ensure_future(full.send(JOB))
        await until("it is held", lambda: full.stats.held_jobs == 1)
        with self.assertRaises(UnsentError) as rejected:
            await full.send(JOB)
        self.assertEqual(rejected.exception.code, "queue_full")
        await full.destroy()
        with self.assertRaises(UsherError):
            await holding

    async def test_drains_and_closes(self) -> None:
        client = await self.client(self.serve().address, linger_s=60)
        sending = asyncio.ensure_future(client.send(JOB))
        await until("it is held", lambda: client.stats.held_jobs == 1 or sending.done())
        await client.drain()
        await client.drain()
        self.assertEqual((await sending).id, client.id_of(1))
        await client.close()
        await client.close()
        await client.destroy()
        with self.assertRaises(UnsentError) as closed:
            await client.send(JOB)
        self.assertEqual(closed.exception.code, "closed")

    async def test_tells_of_connections_in_the_loop(self) -> None:
        loop = asyncio.get_running_loop()
        kinds: List[str] = []

        def listen(event: Event) -> None:
            self.assertIs(asyncio.get_running_loop(), loop)
            kinds.append(event.kind)

        async with await connect_async(self.serve().address, on_event=listen) as client:
            await client.send(JOB)
        await until("all is told", lambda: kinds == ["connected", "goodbye", "disconnected"])

    async def test_raises_when_no_host_takes_it(self) -> None:
        with self.assertRaises(DisconnectedError):
            await connect_async("127.0.0.1:1", connect_within_s=0.1, **QUICK)
        server = self.serve()
        server.first = error_bytes("not_usher")
        with self.assertRaises(UsherError) as caught:
            await connect_async(server.address, connect_within_s=60, **QUICK)
        self.assertEqual(caught.exception.code, "not_usher")


if __name__ == "__main__":
    unittest.main()
