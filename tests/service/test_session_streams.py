"""The streams of session pages in a conversation where nothing happens."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from session_viewers import viewing, with_page
from system import System

from peerbot.web.watching import MOST_OF_ONE


async def test_closed_tabs_free_their_places_and_a_quiet_stream_says_that_it_is_there(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        with_page(system)
        await system.start()
        conversation, identity = await system.say("what is in this repository?")
        await system.answer(conversation, identity)
        async with viewing(system, system.slack.person) as viewer:
            address = f"{viewer.base}/sessions/{conversation}/events"
            async with AsyncExitStack() as tabs:
                for _ in range(MOST_OF_ONE):
                    tab = await tabs.enter_async_context(viewer.http.get(address))
                    assert tab.status == 200
                    assert await tab.content.readline()
                async with viewer.http.get(address) as refused:
                    assert refused.status == 503
            async with asyncio.timeout(30):
                while True:
                    async with viewer.http.get(address) as tab:
                        if tab.status == 200:
                            while await tab.content.readline() != b": still here\n":
                                pass
                            return
