"""The supervisor on its own, on plain anyio: a feed that breaks now and then, and a reader that depends on it.

python -m examples.supervisor_alone
"""

from __future__ import annotations

import anyio

from intendant.supervisor import (
    AutoShutdown,
    Backoff,
    ChildCrashed,
    ChildSpec,
    ChildStarted,
    Event,
    Restart,
    Started,
    Strategy,
    Supervisor,
    SupervisorEnding,
)

WANTED = 5  # numbers to read


async def main() -> None:
    """Read five numbers from a feed that crashes after every second one."""
    numbers: list[int] = []
    came = anyio.Event()

    async def feed(status: Started) -> None:
        nonlocal came
        status.started()
        for _ in range(2):
            await anyio.sleep(0.01)
            numbers.append(len(numbers))
            came.set()
            came = anyio.Event()
        raise ConnectionError("the feed broke")

    async def reader(status: Started) -> None:
        status.started()
        while len(numbers) < WANTED:
            await came.wait()

    def tell(event: Event) -> None:
        match event:
            case ChildStarted(path):
                print(f"{path} is ready")
            case ChildCrashed(path, cause):
                print(f"{path} crashed: {cause}")
            case SupervisorEnding(path, child):
                print(f"{path} ends, because {child} has all it wanted")
            case _:
                pass

    tree = Supervisor(
        "tree",
        [ChildSpec("feed", feed), ChildSpec("reader", reader, Restart.TRANSIENT, significant=True)],
        strategy=Strategy.REST_FOR_ONE,
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
        backoff=Backoff.none(),
        on_event=tell,
    )
    async with anyio.create_task_group() as group:
        await group.start(tree.run)
    print(f"read {numbers[:WANTED]}")


if __name__ == "__main__":
    anyio.run(main)
