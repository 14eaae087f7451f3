"""taskiq on Redis: a task sent to one worker process, its result polled. As a module: what the worker imports.

Streams with acknowledgements, because a list loses what a dying worker had in hand. It has no steps. argv: URL of the
Redis server.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import uvloop
from protocol import Request, Timed, call, end_with_parent, have_the_collector_look_seldom, serve_async
from redis import Redis
from taskiq import TaskiqEvents
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

POLL_SECONDS = {1: 0.001, 64: 0.005}  # by callers; 0.2 by default
TASKS_MAX = 1_000

url = os.environ.get("RIVAL_REDIS") or sys.argv[1]
broker = RedisStreamBroker(url).with_result_backend(RedisAsyncResultBackend(url, result_ex_time=60))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def started(_state: object) -> None:
    have_the_collector_look_seldom()


@broker.task(task_name="work")  # one name in both processes, which import this file by different names
async def work(number: int) -> dict:
    return {"ok": True, "number": number}


async def measure(request: Request) -> Timed:
    poll = POLL_SECONDS[min(request.callers, 64)]

    async def one() -> None:
        sent = await work.kiq(7)
        result = await sent.wait_result(check_interval=poll, timeout=60)
        assert result.return_value["ok"]

    return await call(one, request)


async def main() -> None:
    command = [str(Path(sys.executable).parent / "taskiq"), "worker", "taskiq_queue:broker"]
    command += ["--workers", "1", "--max-async-tasks", str(TASKS_MAX), "--log-level", "ERROR"]
    here = Path(__file__).parent
    environment = {**os.environ, "RIVAL_REDIS": url}
    worker = subprocess.Popen(
        command,
        env=environment,
        cwd=here,
        stdin=subprocess.DEVNULL,
        preexec_fn=end_with_parent,  # noqa: PLW1509  no thread runs yet
    )
    try:
        await broker.startup()
        await (await work.kiq(0)).wait_result(timeout=30)  # the worker is up
        server = Redis.from_url(url)
        append = server.config_get("append*")
        facts = {
            "version": f"taskiq {version('taskiq')}, taskiq-redis {version('taskiq-redis')}",
            "durability": durability(append),
            "settings": {
                "appendonly": append["appendonly"],
                "appendfsync": append["appendfsync"],
                "redis_version": server.info("server")["redis_version"],
                "broker": "RedisStreamBroker",
                "workers": 1,
                "check_interval_s": POLL_SECONDS,
            },
        }
        await serve_async(facts, measure)
        await broker.shutdown()
    finally:
        worker.terminate()
        worker.wait(10)


def durability(append: dict) -> str:
    if append["appendonly"] != "yes":
        return "memory"
    return "fsync" if append["appendfsync"] == "always" else "written"


if __name__ == "__main__":
    uvloop.run(main())
